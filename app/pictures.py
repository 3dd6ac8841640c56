"""Test images of a result as galleries and as the sheet of thumbs of a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app.components import sprite
from app.results import Result, cached_task
from vpt_core.errors import UserError
from vpt_core.runs import Run
from vpt_core.spec import Spec
from vpt_core.tasks import Task, resize

THUMB = 112  # pixels a side in galleries
MANY = 400  # test images; beyond it the thumbs of maps are smaller, so that the sheet stays below a megabyte


def pixels(result: Result, image: int, side: int) -> np.ndarray:
    """One test image (side, side, 3) uint8. Raises `UserError` when the data set is gone."""
    return _resized(result, [image], side)[0]


def gallery(result: Result, images: Sequence[int], caption: Callable[[int], str]) -> list[tuple[np.ndarray, str]]:
    """Test images and what `caption` says of each, for a `gr.Gallery`. Raises `UserError` when the data set is gone."""
    if not len(images):
        return []
    return [(thumb, caption(image)) for thumb, image in zip(_resized(result, images, THUMB), images, strict=True)]


def _resized(result: Result, images: Sequence[int], side: int) -> np.ndarray:
    task, test = _test_images(result.runs[0].spec)
    return resize(np.asarray(task.pixels[test[list(images)]]), side)


def _test_images(spec: Spec) -> tuple[Task, np.ndarray]:
    """The data set of a run and which of its images were tested on."""
    try:
        task = cached_task(spec.task)
    except UserError as error:  # its text may name a folder of the server
        raise UserError("The images of this result are not on this computer any more; its numbers are.") from error
    return task, task.splits(spec.seed, spec.shots).test


def sheet(result: Result) -> dict[str, Any]:
    """All test images as `thumbs` of a map. Raises `UserError` when the data set is gone."""
    return _sheet(result.runs[0].folder)


@lru_cache(maxsize=8)
def _sheet(folder: Path) -> dict[str, Any]:
    task, test = _test_images(Run(folder).spec)
    side = 56 if len(test) <= MANY else 28
    return sprite(resize(np.asarray(task.pixels[test]), side), side)
