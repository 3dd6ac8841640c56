"""A run is a folder, and it is the truth.

    spec.json            what was asked
    history.jsonl        a line an epoch
    status.json          state, reason, classes, scores, seconds, versions
    tuned.safetensors    only what was learned (a prompt file)
    test.json            labels and file names of the test images
    logits.npy           (N, classes) float32, of the test images
    features.npy         (N, d) float32, what the head saw of them
    frozen.npy           (N, d) float32, the same from the untuned backbone
"""

from __future__ import annotations

import json
import os
import platform
import re
import secrets
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from vpt_core import __version__
from vpt_core.backbones import Backbone, load_backbone
from vpt_core.embed import Feed, feed, features_and_logits
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.metrics import Score, score
from vpt_core.model import Model
from vpt_core.prompt_file import About, Classifier, load_prompt, save_prompt
from vpt_core.spec import Spec
from vpt_core.tasks import Task, load_task
from vpt_core.train import Diverged, Epoch, Step, fit

STATES = ("waiting", "running", "done", "stopped", "failed")
_NAME = re.compile(r"[0-9a-z][0-9a-z.-]{0,99}")


@dataclass(frozen=True)
class Phase:
    """Work around the training, for whoever shows progress: `done` of `total` (0 of 0 when it cannot be counted)."""

    text: str
    done: int = 0
    total: int = 0


Record = Phase | Step | Epoch
Result = TypeVar("Result")


class Run:
    """A run folder, read on demand. Cheap to make; what it returns is what the files hold now."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.name = self.folder.name

    @cached_property
    def spec(self) -> Spec:
        return Spec.from_json(_read_json(self.folder / "spec.json"))

    @property
    def status(self) -> dict[str, Any]:
        """`status.json`; a run that says "running" in a process that is gone is reported as failed."""
        status = _read_json(self.folder / "status.json")
        if status["state"] in ("waiting", "running") and not _alive(status["process"]):
            status |= {"state": "failed", "reason": "The program ended while this run was going on."}
        return status

    @property
    def history(self) -> list[Epoch]:
        path = self.folder / "history.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [Epoch(**json.loads(line)) for line in lines]

    @property
    def finished(self) -> bool:
        """True when there is something learned to look at."""
        return (self.folder / "logits.npy").exists() and self.status["state"] in ("done", "stopped")

    @property
    def classes(self) -> list[str]:
        return self.status["classes"]

    @property
    def title(self) -> str:
        return METHODS[self.spec.method].title

    @property
    def test(self) -> Score:
        return Score(**self.status["test"])

    def array(self, name: str) -> np.ndarray:
        """`logits`, `features` or `frozen` of the test images, in the order of `labels`."""
        return np.load(self.folder / f"{name}.npy", allow_pickle=False)

    @property
    def labels(self) -> np.ndarray:
        """True classes (N,) of the test images."""
        return np.array(_read_json(self.folder / "test.json")["labels"], dtype=np.int64)

    @property
    def image_names(self) -> list[str]:
        return _read_json(self.folder / "test.json")["names"]

    @property
    def prompt_file(self) -> Path:
        return self.folder / "tuned.safetensors"

    def classifier(self, backbone: Backbone | None = None) -> Classifier:
        """The tuned model, from the folder alone and a frozen backbone."""
        return load_prompt(self.prompt_file, backbone)

    def same_question(self, other: Run) -> bool:
        """True when both were asked about the same images: their test results can be compared image by image."""
        keys = ("task", "backbone", "image_size", "shots", "seed")
        return all(getattr(self.spec, k) == getattr(other.spec, k) for k in keys) and (
            self.status["task_fingerprint"] == other.status["task_fingerprint"]
        )


def list_runs(root: Path) -> list[Run]:
    """All run folders under `root`, newest first."""
    folders = [f.parent for f in Path(root).glob("*/spec.json")]
    return [Run(f) for f in sorted(folders, key=lambda f: f.name, reverse=True)]


def open_run(root: Path, name: str) -> Run:
    """The run called `name` under `root`. Raises `UserError` when there is none; `name` is never used as a path."""
    if not _NAME.fullmatch(name) or not (Path(root) / name / "spec.json").is_file():
        raise UserError(f"There is no run {name!r} here any more. Choose one of the list.")
    return Run(Path(root) / name)


def new_run(spec: Spec, root: Path) -> Run:
    """Make the folder of a run that is yet to be executed. Raises `UserError` when `spec` cannot be."""
    METHODS[spec.method].read_options(spec.options)
    label = re.sub(r"[^a-z0-9]+", "-", f"{Path(spec.task).stem[:30]}-{spec.method}".lower()).strip("-")
    folder = Path(root) / f"{datetime.now():%Y%m%d-%H%M%S}-{label}-{secrets.token_hex(3)}"
    folder.mkdir(parents=True)
    _write_json(folder / "spec.json", spec.to_json())
    _write_status(folder, {"state": "waiting", "reason": "", "process": os.getpid()})
    return Run(folder)


def tune(spec: Spec, root: str | Path = "runs") -> Run:
    """Execute `spec` in a new folder under `root` and return the finished run. Raises `UserError` when it cannot be done."""
    run = new_run(spec, Path(root))
    for _ in execute(run):
        pass
    return run


def execute(run: Run, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
    """Do what `run.spec` asks, recording everything in the run's folder; yield what happens.

    Ends with the state "done", "stopped" (by `stop`, or by divergence after a first epoch: the best epoch is kept) or
    "failed". A `UserError` and any other exception are recorded as the reason before they are raised again.
    """
    began = time.time()
    status: dict[str, Any] = {"state": "running", "reason": "", "process": os.getpid(), **_circumstances()}
    _write_status(run.folder, status)
    try:
        yield from _execute(run, status, stop)
    except BaseException as error:
        status |= {"state": "failed", "reason": _reason(error)}
        raise
    finally:
        status["seconds"]["total"] = round(time.time() - began, 3)
        _write_status(run.folder, status)


def _reason(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, Exception):
        return f"{type(error).__name__}: {error}"
    return "The run was broken off."  # GeneratorExit, KeyboardInterrupt


def _execute(run: Run, status: dict[str, Any], stop: Callable[[], bool]) -> Iterator[Record]:
    spec = run.spec
    yield Phase("Reading the images")
    task = load_task(spec.task)
    splits = task.splits(spec.seed, spec.shots)
    yield Phase("Loading the backbone")
    backbone = load_backbone(spec.backbone)
    backbone.check_size(spec.image_size)
    model = Model(backbone, spec.method, spec.options, len(task.classes), spec.seed)
    status |= {
        "classes": list(task.classes),
        "task_title": task.title,
        "task_fingerprint": task.fingerprint,
        "counts": {name: len(getattr(splits, name)) for name in ("train", "val", "test")},
        "trained": model.trained,
        "backbone_parameters": backbone.params,
        "weights_hash": backbone.weights_hash,
    }
    _write_status(run.folder, status)
    pixels = task.resized(spec.image_size)
    clock = time.perf_counter()
    train = yield from _counted("Computing the frozen layers of the training images", len(splits.train), stop,
                                feed(model, pixels[splits.train], task.labels[splits.train]))
    val = yield from _counted("Computing the frozen layers of the validation images", len(splits.val), stop,
                              feed(model, pixels[splits.val], task.labels[splits.val]))
    status["seconds"]["embed"] = round(time.perf_counter() - clock, 3)
    status["cached_stages"] = train.start
    yield from _train(run, status, model, train, val, stop)
    yield from _test(run, status, model, task, splits.test, pixels)


def _counted(text: str, total: int, stop: Callable[[], bool], work: Generator[int, None, Result]) -> Generator[Phase, None, Result]:
    """Do `work`, telling how far it is. Before training there is nothing to keep, so `stop` ends the run."""
    yield Phase(text, 0, total)
    while True:
        if stop():
            raise UserError("Stopped before training began; nothing was learned yet.")
        try:
            yield Phase(text, next(work), total)
        except StopIteration as end:
            return end.value


def _train(run: Run, status: dict[str, Any], model: Model, train: Feed, val: Feed, stop: Callable[[], bool]) -> Iterator[Record]:
    clock = time.perf_counter()
    ended = {"state": "done", "reason": ""}
    epochs: list[Epoch] = []
    with (run.folder / "history.jsonl").open("w") as history:
        try:
            last = None
            for record in fit(model, train, val, run.spec, stop):
                last = record
                if isinstance(record, Epoch):
                    epochs.append(record)
                    history.write(json.dumps(asdict(record)) + "\n")
                    history.flush()
                yield record
            if isinstance(last, Step):
                ended = {"state": "stopped", "reason": _kept(f"Stopped in epoch {last.epoch}.", epochs)}
        except Diverged as error:
            if not epochs:
                raise
            ended = {"state": "stopped", "reason": _kept(str(error), epochs)}
    status["seconds"]["train"] = round(time.perf_counter() - clock, 3)
    best = next((e for e in reversed(epochs) if e.best), None)
    status |= {"best_epoch": best.epoch if best else None, "ended": ended}


def _kept(what: str, epochs: list[Epoch]) -> str:
    best = next((e for e in reversed(epochs) if e.best), None)
    if best is None:
        return f"{what} No epoch had ended; the weights are those of the last step."
    accuracy = "" if best.val_accuracy is None else f", {best.val_accuracy:.0%} of the validation images right"
    return f"{what} The best model (epoch {best.epoch}{accuracy}) is kept."


def _test(run: Run, status: dict[str, Any], model: Model, task: Task, index: np.ndarray, pixels: np.ndarray) -> Iterator[Record]:
    clock = time.perf_counter()
    images, labels = pixels[index], task.labels[index]
    go_on = lambda: False  # noqa: E731 (the result is nearly there: a stop now changes nothing)
    data = yield from _counted("Testing: frozen layers", len(index), go_on, feed(model, images, labels))
    features, logits = yield from _counted("Testing", len(index), go_on, features_and_logits(model, data))
    status["seconds"]["test"] = round(time.perf_counter() - clock, 3)
    frozen = features
    if model.method.cut < len(model.method.stages):
        probe = Model(model.backbone, "linear", {}, len(task.classes))
        frozen = (yield from _counted("Embedding with the untuned backbone", len(index), go_on, feed(probe, images, labels))).x
    result = score(logits.argmax(1).numpy(), labels)
    about = About(
        backbone=run.spec.backbone,
        weights_hash=model.backbone.weights_hash,
        method=run.spec.method,
        options=asdict(model.method.options),
        classes=list(task.classes),
        image_size=run.spec.image_size,
        task=task.title,
        seed=run.spec.seed,
        library=__version__,
        metrics={"test": asdict(result)},
    )
    _write_json(run.folder / "test.json", {"labels": labels.tolist(), "names": [task.names[i] for i in index]})
    for name, array in {"logits": logits, "features": features, "frozen": frozen}.items():
        _write_array(run.folder / f"{name}.npy", array.numpy())
    save_prompt(run.prompt_file, model, about)
    status |= {"test": asdict(result), "file_bytes": run.prompt_file.stat().st_size, **status.pop("ended")}


def _circumstances() -> dict[str, Any]:
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": "cpu",
        "precision": "float32",
        "threads": torch.get_num_threads(),
        "versions": {"vpt_core": __version__, "python": platform.python_version(), **{p: version(p) for p in ("torch", "timm", "numpy")}},
        "seconds": {},
    }


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, data: Any) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(part, path)


def _write_status(folder: Path, status: dict[str, Any]) -> None:
    _write_json(folder / "status.json", status)


def _write_array(path: Path, array: np.ndarray) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    os.replace(part, path)
