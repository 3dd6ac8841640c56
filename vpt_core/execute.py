"""Executing a run: from its spec to what it learned, every step recorded in its folder."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from vpt_core import __version__
from vpt_core.backbones import load_backbone, without_folder
from vpt_core.checkpoint import Checkpoints
from vpt_core.device import device
from vpt_core.embed import Feed, features_and_logits, feed
from vpt_core.epochs import EpochFiles
from vpt_core.errors import UserError
from vpt_core.files import PART, write_whole
from vpt_core.memory import SHARE, available, images_at_once
from vpt_core.methods.how import choose_how
from vpt_core.metrics import score
from vpt_core.model import Model
from vpt_core.precision import FLOAT32, choose_precision
from vpt_core.prompt_file import About, preprocessing, save_prompt
from vpt_core.runs import Run, check_unfinished, new_run, process_id, write_array, write_json
from vpt_core.shortage import shortage, shortages_in_words
from vpt_core.spec import Spec
from vpt_core.tasks import Task, load_task
from vpt_core.train import Diverged, Epoch, State, Step, fit


@dataclass(frozen=True)
class Phase:
    """Work around the training, for whoever shows progress: `done` of `total` (0 of 0 when it cannot be counted)."""

    text: str
    done: int = 0
    total: int = 0


_BALLAST = 16_384  # bytes kept free, so that on a full disk the end of a run can still be recorded
REMEMBERED = 4
_UNTUNED: dict[tuple[Any, ...], torch.Tensor] = {}
"""What the untuned backbone made of the test images of the last tasks: the same for every method."""

Record = Phase | Step | Epoch
Result = TypeVar("Result")


def tune(spec: Spec, root: str | Path = "runs") -> Run:
    """Execute `spec` in a new folder under `root` and return the finished run. Raises `UserError` when it cannot be done."""
    run = new_run(spec, Path(root))
    for _ in execute(run):
        pass
    return run


def resume(folder: str | Path) -> Run:
    """Go on with the run in `folder` that was broken off, to the result that it would have had, and return it.

    Raises `UserError` when it is finished, is going on, or belongs to images or weights that have changed.
    """
    run = Run(Path(folder))
    check_unfinished(run)
    for _ in execute(run):
        pass
    return run


def execute(run: Run, stop: Callable[[], bool] = lambda: False) -> Iterator[Record]:
    """Do what `run.spec` asks, from its checkpoint on if it has one, recording everything in its folder; yield what happens.

    Ends with the state "done", "stopped" (by `stop`, or by divergence after a first epoch: the best epoch is kept),
    "interrupted" (the reader left) or "failed". A `UserError`, as which a full disk and a lack of memory come too, and any
    other exception are recorded as the reason before they are raised again.
    """
    began = time.time()
    status: dict[str, Any] = {"state": "running", "reason": "", "process": process_id(), **_circumstances(), **_plan(run)}
    ballast = run.folder / f"ballast{PART}"
    with shortages_in_words():
        try:
            for left in run.folder.rglob(f"*{PART}"):
                left.unlink()
            write_json(run.folder / "status.json", status)
            ballast.write_bytes(bytes(_BALLAST))
            yield from _execute(run, status, stop)
        except BaseException as error:
            status |= {"state": "failed" if isinstance(error, Exception) else "interrupted", "reason": _reason(error)}
            raise
        finally:
            ballast.unlink(missing_ok=True)
            status["seconds"]["total"] = round(time.time() - began + status["seconds"].pop("before", 0), 3)
            write_json(run.folder / "status.json", status)
        run.checkpoint.unlink(missing_ok=True)


def _plan(run: Run) -> dict[str, Any]:
    """How the part of a run before its checkpoint was computed: the rest has to do the same, whatever is free or fast now."""
    before = run.status if run.checkpoint.exists() else {}
    return {name: before[name] for name in ("images_at_once", "how", "precision") if name in before}


def _reason(error: BaseException) -> str:
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, Exception):
        return shortage(error) or f"{type(error).__name__}: {error}"
    return "The run was broken off."  # GeneratorExit, KeyboardInterrupt


def _execute(run: Run, status: dict[str, Any], stop: Callable[[], bool]) -> Iterator[Record]:
    spec = run.spec
    yield Phase("Reading the images")
    task = load_task(spec.task)
    splits = task.splits(spec.seed, spec.shots)
    yield Phase("Loading the backbone")
    backbone = load_backbone(spec.backbone).on(device())
    backbone.check_size(spec.image_size)
    status.setdefault("precision", choose_precision(spec.precision, backbone.device))
    build = partial(Model, backbone, spec.method, spec.options, len(task.classes), spec.seed, spec.image_size)
    model = build(status["precision"])
    if model.method.by_hand:
        model.method.how = choose_how(status["precision"], status.get("how"))
    status |= {
        "classes": list(task.classes),
        "task_title": task.title,
        "task_fingerprint": task.fingerprint,
        "counts": {name: len(getattr(splits, name)) for name in ("train", "val", "test")},
        "trained": model.trained,
        "backbone_parameters": backbone.params,
        "weights_hash": backbone.weights_hash,
        "device": str(backbone.device),
        "path": model.method.path,
    }
    write_json(run.folder / "status.json", status)
    pixels = task.resized(spec.image_size)
    clock = time.perf_counter()
    model.prepare(pixels[splits.train])
    train = yield from _counted("Computing the frozen layers of the training images", len(splits.train), stop,
                                feed(model, pixels[splits.train], task.labels[splits.train], spec.augment == "none"))
    val = yield from _counted("Computing the frozen layers of the validation images", len(splits.val), stop,
                              feed(model, pixels[splits.val], task.labels[splits.val]))
    status["seconds"]["embed"] = round(time.perf_counter() - clock, 3)
    status["cached_stages"] = train.start
    about = About(
        backbone=without_folder(spec.backbone),
        weights_hash=backbone.weights_hash,
        method=spec.method,
        options=asdict(model.method.options),
        classes=list(task.classes),
        image_size=spec.image_size,
        task=task.title,
        seed=spec.seed,
        library=__version__,
        preprocessing=preprocessing(backbone, spec.image_size),
    )
    owner = {"images": task.fingerprint, "frozen weights": backbone.weights_hash}
    checkpoints = Checkpoints(run.checkpoint, run.prompt_file, about, owner)
    ended = yield from _train(run, status, model, train, val, stop, checkpoints)
    if model.precision != FLOAT32:  # what is recorded is what the prompt file says anywhere
        learned, model = model, build()
        model.load_state_dict(learned.state_dict())
    yield from _test(run, status, model, task, splits.test, pixels, about)
    status |= ended


def _counted(
    text: str, total: int, stop: Callable[[], bool], work: Generator[int, None, Result]
) -> Generator[Phase, None, Result]:
    """Do `work`, telling how far it is. Before training there is nothing to keep, so `stop` ends the run."""
    yield Phase(text, 0, total)
    while True:
        if stop():
            raise UserError("Stopped before training began; nothing was learned yet.")
        try:
            yield Phase(text, next(work), total)
        except StopIteration as end:
            return end.value


def _train(
    run: Run, status: dict[str, Any], model: Model, train: Feed, val: Feed, stop: Callable[[], bool], checkpoints: Checkpoints
) -> Generator[Record, None, dict[str, str]]:
    """Train, from the checkpoint on if there is one; return the state and the reason with which the run will end."""
    state = State(model, run.spec)
    checkpoints.restore(state)
    clock = time.perf_counter() - state.seconds
    status["seconds"]["before"] = state.seconds
    if state.epoch:
        status["resumed_after"] = state.epoch
    epochs = [epoch for epoch in run.history if epoch.epoch <= state.epoch]
    if "images_at_once" not in status:
        room = int(SHARE * available(model.backbone.device))
        status["images_at_once"] = images_at_once(model, train, run.spec.batch_size, room)
    if model.method.by_hand:
        status["how"] = asdict(model.method.how)
    write_json(run.folder / "status.json", status)
    path = run.folder / "history.jsonl"
    write_whole(path, "".join(map(_line, epochs)).encode())
    kept = EpochFiles(run.folder, model, checkpoints.about, run.spec.epochs)
    kept.begin(state.epoch)
    ended = {"state": "done", "reason": ""}
    with path.open("a") as history:
        try:
            last = None
            for record in fit(model, train, val, run.spec, stop, state, status["images_at_once"]):
                last = record
                if isinstance(record, Epoch):
                    epochs.append(record)
                    history.write(_line(record))
                    history.flush()
                    kept.keep(record.epoch)  # before the checkpoint, which training goes on after
                    checkpoints.keep(state)
                yield record
            if isinstance(last, Step):
                ended = {"state": "stopped", "reason": _kept(f"Stopped in epoch {last.epoch}.", epochs)}
        except Diverged as error:
            if not epochs:
                raise
            ended = {"state": "stopped", "reason": _kept(str(error), epochs)}
    best = next((e for e in reversed(epochs) if e.best), None)
    status["seconds"]["train"] = round(time.perf_counter() - clock, 3)
    status["best_epoch"] = best.epoch if best else None
    return ended


def _line(epoch: Epoch) -> str:
    return json.dumps(asdict(epoch)) + "\n"


def _kept(what: str, epochs: list[Epoch]) -> str:
    best = next((e for e in reversed(epochs) if e.best), None)
    if best is None:
        return f"{what} No epoch had ended; the weights are those of the last step."
    accuracy = "" if best.val_accuracy is None else f", {best.val_accuracy:.0%} of the validation images right"
    return f"{what} The best model (epoch {best.epoch}{accuracy}) is kept."


def _test(
    run: Run, status: dict[str, Any], model: Model, task: Task, index: np.ndarray, pixels: np.ndarray, about: About
) -> Iterator[Record]:
    clock = time.perf_counter()
    images, labels = pixels[index], task.labels[index]
    go_on = lambda: False  # noqa: E731 (the result is nearly there: a stop now changes nothing)
    data = yield from _counted("Testing: frozen layers", len(index), go_on, feed(model, images, labels))
    features, logits = yield from _counted("Testing", len(index), go_on, features_and_logits(model, data))
    status["seconds"]["test"] = round(time.perf_counter() - clock, 3)
    key = (model.backbone.name, model.backbone.weights_hash, task.fingerprint, run.spec.image_size, index.tobytes())
    if model.method.cut == len(model.method.stages):
        _UNTUNED[key] = features
    elif key not in _UNTUNED:
        probe = Model(model.backbone, "linear", {}, len(task.classes))
        untuned = features_and_logits(probe, Feed(images, torch.from_numpy(labels), 0))
        _UNTUNED[key], _ = yield from _counted("Embedding with the untuned backbone", len(index), go_on, untuned)
    frozen = _UNTUNED[key]
    for old in list(_UNTUNED)[:-REMEMBERED]:
        _UNTUNED.pop(old, None)
    result = score(logits.argmax(1).numpy(), labels)
    write_json(run.folder / "test.json", {"labels": labels.tolist(), "names": [task.names[i] for i in index]})
    for name, array in {"logits": logits, "features": features, "frozen": frozen}.items():
        write_array(run.folder / f"{name}.npy", array.numpy())
    save_prompt(run.prompt_file, model, replace(about, metrics={"test": asdict(result)}))
    status |= {"test": asdict(result), "file_bytes": run.prompt_file.stat().st_size}


def _circumstances() -> dict[str, Any]:
    packages = {name: version(name) for name in ("torch", "timm", "numpy")}
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "threads": torch.get_num_threads(),
        "versions": {"vpt_core": __version__, "python": platform.python_version(), **packages},
        "seconds": {},
    }
