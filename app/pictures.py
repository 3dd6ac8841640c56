"""Pictures for the page: files for galleries, test images of a result, and the sheet of thumbs of a map."""

from __future__ import annotations

import hashlib
import os
import secrets
import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from gradio.utils import get_upload_folder
from PIL import Image, ImageDraw

from app.components import sprite
from app.results import Result, images_of
from vpt_core.runs import Run
from vpt_core.spec import Spec
from vpt_core.tasks import Task, resize

THUMB = 112  # pixels a side in galleries
MANY = 400  # test images; beyond it the thumbs of maps are smaller, so that the sheet stays below a megabyte
_KEY = secrets.token_bytes(32)  # so that nobody can tell from a picture what its file is called


def as_file(picture: np.ndarray, format: str = "webp") -> str:
    """The file of a picture (h, w, 3) uint8 in Gradio's cache, for a `gr.Gallery` or a `gr.ImageSlider`.

    The same picture has the same file, written whole and once. Gradio itself would write it anew for each visitor, also while
    the browser of another one reads it.
    """
    digest = hashlib.blake2b(repr(picture.shape).encode() + picture.tobytes(), key=_KEY, digest_size=32).hexdigest()
    path = Path(get_upload_folder()) / "pictures" / f"{digest}.{format}"
    try:
        os.utime(path)  # Gradio deletes by age
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as part:
            Image.fromarray(picture).save(part, format)
        os.replace(part.name, path)
    return str(path)


def pixels(result: Result, image: int, side: int) -> np.ndarray:
    """One test image (side, side, 3) uint8. Raises `UserError` when the data set is gone."""
    return _resized(result, [image], side)[0]


def test_pixels(run: Run, side: int, some: np.ndarray | None = None) -> np.ndarray:
    """Test images of a run, all or `some`, (n, side, side, 3) uint8. Raises `UserError` when the data set is gone."""
    task, test = _test_images(run.spec)
    return resize(np.asarray(task.pixels[test if some is None else test[some]]), side)


def mean_picture(run: Run, label: int | None, side: int) -> np.ndarray:
    """The mean of a run's test images of one class, or of all (None), (side, side, 3) uint8, as `test_pixels`."""
    some = np.flatnonzero(run.labels == label) if label is not None else None
    return test_pixels(run, side, some).mean(axis=0).astype(np.uint8)


def train_images(run: Run, most: int) -> np.ndarray:
    """Numbers in the data set of a run's training images, evenly over the classes `most` at most, as `test_pixels`."""
    task = _test_images(run.spec)[0]
    train = task.splits(run.spec.seed, run.spec.shots).train
    return train[even(task.labels[train], most)]


def task_of(run: Run) -> Task:
    """The data set of a run. Raises `UserError` when it is gone."""
    return _test_images(run.spec)[0]


def task_pixels(run: Run, images: np.ndarray, side: int) -> np.ndarray:
    """Images of a run's data set by their number in it, (n, side, side, 3) uint8, as `test_pixels`."""
    return resize(np.asarray(task_of(run).pixels[images]), side)


def even(labels: np.ndarray, count: int, first: int | None = None) -> np.ndarray:
    """Numbers of `count` images, the same number of each class as far as there are, in the order of a fixed draw."""
    order = np.random.default_rng(0).permutation(len(labels))
    turn = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        turn[mine] = np.arange(len(mine))
    order = order[np.argsort(turn[order], kind="stable")]
    if first is not None:
        order = np.concatenate([[first], order[order != first]])
    return order[:count]


def framed(image: np.ndarray, row: int, column: int, grid: tuple[int, int]) -> np.ndarray:
    """A patch of an image (S, S, 3) uint8, enlarged, and beside it the image with the patch framed: (T, 2 T, 3)."""
    height, width = (image.shape[0] / grid[0], image.shape[1] / grid[1])
    box = (column * width, row * height, (column + 1) * width, (row + 1) * height)
    whole = Image.fromarray(image)
    crop = whole.resize((THUMB, THUMB), Image.Resampling.BICUBIC, box=box)
    shown = whole.resize((THUMB, THUMB), Image.Resampling.LANCZOS)
    scaled = [edge * THUMB / image.shape[0] for edge in box]
    pen = ImageDraw.Draw(shown)
    pen.rectangle([scaled[0] - 1, scaled[1] - 1, scaled[2], scaled[3]], outline="white", width=3)
    pen.rectangle([scaled[0], scaled[1], scaled[2] - 1, scaled[3] - 1], outline="#db2777", width=2)
    return np.concatenate([np.asarray(crop), np.asarray(shown)], axis=1)


def gallery(result: Result, images: Sequence[int], caption: Callable[[int], str]) -> list[tuple[str, str]]:
    """Files of test images and what `caption` says of each, for a `gr.Gallery`. Raises `UserError` when the data is gone."""
    if not len(images):
        return []
    return [(as_file(thumb), caption(image)) for thumb, image in zip(_resized(result, images, THUMB), images, strict=True)]


def _resized(result: Result, images: Sequence[int], side: int) -> np.ndarray:
    task, test = _test_images(result.runs[0].spec)
    return resize(np.asarray(task.pixels[test[list(images)]]), side)


def _test_images(spec: Spec) -> tuple[Task, np.ndarray]:
    """The data set of a run and which of its images were tested on."""
    task = images_of(spec)
    return task, task.splits(spec.seed, spec.shots).test


def sheet(result: Result) -> dict[str, Any]:
    """All test images as `thumbs` of a map. Raises `UserError` when the data set is gone."""
    return _sheet(result.runs[0].folder)


@lru_cache(maxsize=8)
def _sheet(folder: Path) -> dict[str, Any]:
    task, test = _test_images(Run(folder).spec)
    side = 56 if len(test) <= MANY else 28
    return sprite(resize(np.asarray(task.pixels[test]), side), side)
