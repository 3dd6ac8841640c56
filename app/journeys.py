"""The way of some images through a run's kept epochs: computed on demand, kept in the run's folder."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from app import pictures, visitors
from app.components import plain, sprite
from app.figures.maps import Points, in_words
from app.kept import Kept
from app.models import classifier
from app.results import RECORDED
from app.warmup import forward_seconds
from vpt_core import epochs
from vpt_core.analysis import before_tuning, follow, lay_out
from vpt_core.backbones import card
from vpt_core.errors import UserError
from vpt_core.ledger import FLOAT32
from vpt_core.metrics import softmax
from vpt_core.model import Model
from vpt_core.prompt_file import load_prompt
from vpt_core.runs import Run, write_array, write_json
from vpt_core.shortage import shortages_in_words

EACH = 100  # images of the test and of the training images, at most
MOST_EPOCHS = 10
RECORD = "journey.json"
NONE = -1
LAST = 0
"""The layer that the classifier reads."""
THUMB = 56
_NUMBERS = ("images", "place", "labels", "said", "sure")  # fields of a journey that are kept as lists of numbers
_BESIDE = tempfile.TemporaryDirectory(prefix="vpt-journeys-")
_drawn: Kept[tuple[Path, int, str], np.ndarray] = Kept(24)


@dataclass(frozen=True)
class Journey:
    """Features (E, N, d) of N images in the frozen model, after each of `epochs`, and in the tuned model.

    images         (N,) numbers in the data set
    place          (N,) number among the run's test images, `NONE` for a training image
    names          N file names
    labels, said   (N,) true class, and what the tuned model says; `sure` (N,) its confidence
    """

    epochs: tuple[int, ...]
    images: np.ndarray
    place: np.ndarray
    names: list[str]
    labels: np.ndarray
    said: np.ndarray
    sure: np.ndarray
    features: np.ndarray

    def steps(self, best: int | None) -> list[str]:
        """Names (E,) of the states; the tuned model is that of epoch `best`."""
        tuned = f"tuned (epoch {best})" if best else "tuned"
        return ["frozen", *(f"epoch {number}" for number in self.epochs), tuned]


def why_not(run: Run) -> str:
    """Why there is nothing to follow in a run; empty where there is."""
    if run.epochs:
        return ""
    if run.spec.method == "linear":
        return "A linear probe leaves the features as they are, so there is no way to follow."
    if FLOAT32 * run.status["trained"] > epochs.MOST_EACH:
        return (f"This run kept no epochs: it learned {run.status['trained']:,} numbers, and epochs of more than "
                f"{epochs.MOST_EACH / 1024**2:.0f} MB are not kept.")
    return "This run kept no epochs: it was made before runs did, or no epoch ended. Tune anew to follow one."


def chosen_epochs(run: Run) -> dict[int, Path]:
    """Of the kept epochs `MOST_EPOCHS` at most, evenly, the first and the last among them."""
    kept = list(run.epochs.items())
    some = np.unique(np.linspace(0, len(kept) - 1, min(MOST_EPOCHS, len(kept))).round().astype(int))
    return dict(kept[i] for i in some)


def image_count(run: Run) -> int:
    """How many images are followed."""
    return min(EACH, run.test.total) + min(EACH, run.status["counts"]["train"])


def seconds(run: Run, layer: int = LAST) -> float:
    """A guess at how long `walk` takes, in seconds."""
    shape = card(run.spec.backbone)
    one = forward_seconds(shape.params, shape.tokens(run.spec.image_size) + 1)
    ways = 1.0 if layer == LAST else layer / shape.depth + (known(run) is None)
    return ways * (2 + len(chosen_epochs(run))) * image_count(run) * one


def known(run: Run, layer: int = LAST) -> Journey | None:
    """What `walk` found before; None when it was not asked, or the folder holds it no more."""
    there = _file(run.folder, RECORD).exists() and _file(run.folder, _features(layer)).exists()
    return _read(run.folder, layer) if there else None


def _file(folder: Path, name: str) -> Path:
    """Where a file of a run is kept: in its folder, but recorded runs stay as they are."""
    own = folder / name
    return own if own.exists() or folder.parent != RECORDED else Path(_BESIDE.name) / f"{folder.name}-{name}"


def _features(layer: int) -> str:
    return "journey.npy" if layer == LAST else f"journey-{layer}.npy"


@lru_cache(maxsize=4)
def _read(folder: Path, layer: int) -> Journey:
    record = json.loads(_file(folder, RECORD).read_text(encoding="utf-8"))
    numbers = {name: np.array(record[name]) for name in _NUMBERS}
    features = np.load(_file(folder, _features(layer)), allow_pickle=False)
    return Journey(tuple(record["epochs"]), names=record["names"], features=features, **numbers)


def walk(run: Run, stop: Callable[[], bool], layer: int = LAST) -> Generator[tuple[int, int], None, Journey | None]:
    """Follow test and training images of a run, evenly over the classes, and keep what was found in its folder.

    The features are those after `layer`, counted from 1; the `LAST` ones come first, since they say what the model answers.
    Yields how many images of how many are done. None when `stop` said so: then nothing is kept. Raises `UserError` when the
    run kept no epochs, or data set, prompt files or backbone are not there.
    """
    if why_not(run):
        raise UserError(why_not(run))
    if layer != LAST and known(run) is None and (yield from walk(run, stop)) is None:
        return None
    files, tuned = chosen_epochs(run), classifier(run).model
    images, place = _images(run)
    states = 2 + len(files)
    visitors.check_room(FLOAT32 * states * len(images) * tuned.head.in_features)
    pixels = pictures.task_pixels(run, images, run.spec.image_size)
    work = follow(_models(tuned, files), pixels, states, () if layer == LAST else (layer,))
    while not stop():
        try:
            yield next(work)
        except StopIteration as end:
            if layer == LAST:
                return _keep(run, tuned, tuple(files), images, place, end.value)
            with shortages_in_words():
                write_array(_file(run.folder, _features(layer)), end.value[:, 0])
            return known(run, layer)
    return None


def _images(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Numbers in the data set of the images to follow, and their numbers among the test images."""
    task = pictures.task_of(run)
    test = task.splits(run.spec.seed, run.spec.shots).test
    some, train = pictures.even(run.labels, EACH), pictures.train_images(run, EACH)
    return np.concatenate([test[some], train]), np.concatenate([some, np.full(len(train), NONE)])


def _models(tuned: Model, files: dict[int, Path]) -> Iterator[Model]:
    yield before_tuning(tuned)
    for file in files.values():
        yield load_prompt(file, tuned.backbone).model
    yield tuned


def _keep(run: Run, tuned: Model, numbers: tuple[int, ...], images: np.ndarray, place: np.ndarray,
          features: np.ndarray) -> Journey:
    with torch.no_grad():
        shares = softmax(tuned.head(torch.from_numpy(features[-1])).numpy())
    task = pictures.task_of(run)
    names, labels = [task.names[i] for i in images], np.asarray(task.labels[images])
    found = Journey(numbers, images, place, names, labels, shares.argmax(axis=1), shares.max(axis=1), features)
    record = {"epochs": list(numbers), "names": names, **{name: getattr(found, name).tolist() for name in _NUMBERS}}
    with shortages_in_words():
        write_array(_file(run.folder, _features(LAST)), features)
        write_json(_file(run.folder, RECORD), record)  # last: it is what says that both are there
    _read.cache_clear()
    return found


def known_places(run: Run, method: str, layer: int = LAST) -> bool:
    """True when the maps of a known journey were drawn by this method before."""
    return _drawn.known((run.folder, layer, method)) is not None


def places(run: Run, method: str, layer: int = LAST) -> np.ndarray:
    """The maps (E, N, 2) of a known journey, by a method of `LAYOUTS`; the latest ones stay in memory."""
    return _drawn.find((run.folder, layer, method), lambda: lay_out(_read(run.folder, layer).features, method))


def points(classes: Sequence[str], journey: Journey) -> Points:
    """What the chart shows of the images of a journey.

    A click gives the number of the thumb and the number among the test images, or `NONE`.
    """
    words = [f"{plain(name)}, {'training' if p == NONE else 'test'} image"
             for name, p in zip(journey.names, journey.place, strict=True)]
    clicks = [[i, int(p)] for i, p in enumerate(journey.place)]
    texts = in_words(classes, words, journey.labels, journey.said, journey.sure)
    return Points(classes, journey.labels, journey.said, journey.sure, texts, clicks, journey.place != NONE)


@lru_cache(maxsize=4)
def thumbs(folder: Path) -> dict[str, Any]:
    """The pictures of the images of a known journey. Raises `UserError` when the data set is gone."""
    return sprite(pictures.task_pixels(Run(folder), _read(folder, LAST).images, THUMB), THUMB)
