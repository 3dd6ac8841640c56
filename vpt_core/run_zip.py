"""A run that was saved as a zip comes back. A stranger may have made it, so nothing is extracted: the few files that make a
run are read with bounds, held against each other and the frozen backbone, and written anew.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from vpt_core.backbones import BACKBONES, load_backbone
from vpt_core.epochs import FOLDER, MOST_BYTES, MOST_EACH
from vpt_core.errors import UserError
from vpt_core.files import write_whole
from vpt_core.held import Held, number, text, whole
from vpt_core.methods import METHODS
from vpt_core.metrics import score
from vpt_core.model_card import model_card
from vpt_core.prompt_file import About, Classifier, load_prompt, read_about
from vpt_core.runs import FINISHED, Run, check_spec, make_folder, write_array, write_json
from vpt_core.shortage import shortages_in_words
from vpt_core.spec import Spec
from vpt_core.tasks import ELSEWHERE, LIMITS, TASKS, Limits, load_task
from vpt_core.tasks.archive import open_zip
from vpt_core.train import Epoch

_ARRAYS = ("logits", "features", "frozen")
_TEXTS = ("reason", "started", "precision", "device", "path", "task_title")
_SECONDS, _COUNTS = ("embed", "train", "test", "total"), ("train", "val", "test")


def unpack_run(source: Path, root: Path, limits: Limits = LIMITS) -> Run:
    """The finished run in the zip `source`, in a new folder under `root`; its status says "loaded".

    What it learned has to fit a backbone of the list, its score is counted again from its logits, and names are cleaned. Of
    its images it keeps the names alone, unless its task is built in and has the same ones: a path in it is never followed.
    Maps and knock-outs are left out. Raises `UserError` when it is not such a zip; then nothing is left under `root`.
    """
    if not source.is_file():
        raise UserError(f"There is no file {str(source)!r}.")
    with open_zip(source, limits) as listing, shortages_in_words():
        held = Held(listing)
        spec = Spec.from_json(held.json("spec.json"))
        if spec.backbone not in BACKBONES:
            raise UserError(f"{listing.source} asks for the backbone {spec.backbone[:80]!r}; a run that is loaded has to be on "
                            f"one of: {', '.join(BACKBONES)}.")
        check_spec(spec)
        folder = make_folder(spec, root)
        try:
            _rebuild(held, spec, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return Run(folder)


def pack_run(run: Run, path: Path) -> None:
    """Write the run's folder to `path` as a zip that `unpack_run` takes, with a model card and without a path to its images."""
    spec = run.spec if run.spec.task in TASKS else replace(run.spec, task=_elsewhere(run.spec.task))
    texts = {"spec.json": json.dumps(spec.to_json(), indent=1, ensure_ascii=False),
             "README.md": model_card(read_about(run.prompt_file), run.prompt_file.stat().st_size)}  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(run.folder.rglob("*")):
            if file.is_file() and file.name not in texts:
                archive.write(file, run.name / file.relative_to(run.folder))
        for name, text_of in texts.items():
            archive.writestr(f"{run.name}/{name}", text_of)


def _rebuild(held: Held, spec: Spec, folder: Path) -> None:
    """Write the run into `folder`, spec.json last: it is what makes a folder a run."""
    run = Run(folder)
    write_whole(run.prompt_file, held.read(run.prompt_file.name, held.listing.limits.total_bytes))
    classifier = load_prompt(run.prompt_file, load_backbone(spec.backbone))
    _check_about(held, classifier.about, spec)
    labels, names = _test_images(held, len(classifier.classes))
    arrays = {name: held.array(f"{name}.npy", len(labels)) for name in _ARRAYS}
    if arrays["logits"].shape[1] != len(classifier.classes):
        held.refuse("logits.npy", f"is not of {len(classifier.classes)} classes")
    said = _status(held)
    said |= _facts(classifier, run) | {"test": asdict(score(arrays["logits"].argmax(axis=1), labels))}
    history = _history(held)
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)
    write_json(folder / "test.json", {"labels": labels.tolist(), "names": names})
    write_whole(folder / "history.jsonl", "".join(json.dumps(asdict(epoch)) + "\n" for epoch in history).encode())
    _copy_epochs(held, classifier.about, spec, run)
    write_json(folder / "status.json", said)
    here = _is_here(spec, said["task_fingerprint"], labels)
    write_json(folder / "spec.json", replace(spec, task=spec.task if here else _elsewhere(spec.task)).to_json())


def _check_about(held: Held, about: About, spec: Spec) -> None:
    options = asdict(METHODS[spec.method].read_options(spec.options))
    asked = (spec.backbone, spec.method, spec.image_size, spec.seed, options)
    if (about.backbone, about.method, about.image_size, about.seed, about.options) != asked:
        held.refuse("tuned.safetensors", "was not made as spec.json says")


def _facts(classifier: Classifier, run: Run) -> dict[str, Any]:
    """What a status says of the model, as it is."""
    backbone = classifier.model.backbone
    return {"classes": list(classifier.classes), "trained": classifier.model.trained, "weights_hash": backbone.weights_hash,
            "backbone_parameters": backbone.params, "file_bytes": run.prompt_file.stat().st_size, "loaded": True}  # fmt: skip


def _test_images(held: Held, classes: int) -> tuple[np.ndarray, list[str]]:
    said = held.json("test.json")
    labels, names = said.get("labels"), said.get("names")
    good = (
        isinstance(labels, list) and isinstance(names, list) and len(labels) == len(names) <= held.listing.limits.images
        and all(type(label) is int and 0 <= label < classes for label in labels) and all(type(name) is str for name in names)
    )  # fmt: skip
    if not good:
        held.refuse("test.json", "does not hold a class and a name for each test image")
    return np.array(labels, np.int64), ["/".join(map(text, name.split("/", 16))) for name in names]


def _history(held: Held) -> list[Epoch]:
    kinds: dict[str, Callable[[Any], bool]] = {"int": whole, "float": number, "bool": lambda value: type(value) is bool}
    wanted = {field.name: str(field.type).split(" | ") for field in fields(Epoch)}
    said = held.lines("history.jsonl")
    for line in said:
        if set(line) != set(wanted):
            held.refuse("history.jsonl", "is not what a run writes")
        for name, value in line.items():
            if not (value is None and "None" in wanted[name]) and not kinds[wanted[name][0]](value):
                held.refuse("history.jsonl", f"says {name} {str(value)[:40]!r}")
    return [Epoch(**line) for line in said]


def _status(held: Held) -> dict[str, Any]:
    """What a status says of how the run went, and nothing else that it may hold."""
    said = held.json("status.json")
    seconds, counts, versions = (said.get(name) for name in ("seconds", "counts", "versions"))
    good = (
        said.get("state") in FINISHED and all(type(said.get(name)) is str for name in (*_TEXTS, "task_fingerprint"))
        and whole(said.get("threads")) and (said.get("best_epoch") is None or whole(said["best_epoch"]))
        and isinstance(seconds, dict) and all(number(seconds.get(name)) for name in _SECONDS)
        and isinstance(counts, dict) and all(whole(counts.get(name)) for name in _COUNTS)
        and isinstance(versions, dict) and len(versions) < 20 and all(type(version) is str for version in versions.values())
    )  # fmt: skip
    if not good:
        held.refuse("status.json", "is not that of a finished run")
    return {
        "state": said["state"], "threads": said["threads"], "best_epoch": said.get("best_epoch"),
        "task_fingerprint": text(said["task_fingerprint"]),
        **{name: text(said[name]) if said[name] else "" for name in _TEXTS},
        "seconds": {name: seconds[name] for name in _SECONDS}, "counts": {name: counts[name] for name in _COUNTS},
        "versions": {text(name): text(version) for name, version in versions.items()},
    }  # fmt: skip


def _copy_epochs(held: Held, about: About, spec: Spec, run: Run) -> None:
    """The kept epochs whose descriptions are that of the run; whoever loads one checks it as a stranger's."""
    room = MOST_BYTES
    for epoch in range(1, spec.epochs + 1):
        name = f"{FOLDER}/{epoch:03}.safetensors"
        if name not in held.files:
            continue
        data = held.read(name, min(room, MOST_EACH))
        room -= len(data)
        file = run.folder / name
        file.parent.mkdir(exist_ok=True)
        write_whole(file, data)
        if replace(read_about(file), metrics={}) != replace(about, metrics={}):
            held.refuse(name, "was not made by this run")


def _is_here(spec: Spec, fingerprint: str, labels: np.ndarray) -> bool:
    """True when the run's images are those of a built-in task."""
    if spec.task not in TASKS:
        return False
    task = load_task(spec.task)
    return task.fingerprint == fingerprint and np.array_equal(task.labels[task.splits(spec.seed, spec.shots).test], labels)


def _elsewhere(task: str) -> str:
    """What a spec calls a task whose images are not here: the end of its path, as a name."""
    return ELSEWHERE + text(re.split(r"[/\\]", task.removeprefix(ELSEWHERE))[-1])
