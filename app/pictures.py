"""Test images of a result as galleries and as the sheet of thumbs of a map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from app.components import sprite
from app.results import Result, cached_task
from vpt_core.tasks import resize

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
    index = result.test_index[np.asarray(images, dtype=np.int64)]
    return resize(np.asarray(result.task.pixels[index]), side)


def sheet(result: Result) -> dict[str, Any]:
    """All test images as `thumbs` of a map. Raises `UserError` when the data set is gone."""
    spec = result.runs[0].spec
    return _sheet(spec.task, spec.seed, spec.shots)


@lru_cache(maxsize=8)
def _sheet(source: str, seed: int, shots: int) -> dict[str, Any]:
    task = cached_task(source)
    test = task.splits(seed, shots).test
    side = 56 if len(test) <= MANY else 28
    return sprite(resize(np.asarray(task.pixels[test]), side), side)
