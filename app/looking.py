"""What looking into many images of a run needs: the atlas and near patches, with progress, and kept in memory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np

from app import pictures
from app.models import classifier
from vpt_core.analysis import Atlas, Near, find_near, read_atlas
from vpt_core.analysis.atlas import prompt_counts
from vpt_core.runs import Run

KEPT = 8  # runs whose atlas and near patches stay in memory
MOST_TRAIN = 200  # training images whose patches are looked through
NEAREST = 12
_atlases: dict[Path, dict[int | None, Atlas]] = {}
_near: dict[Path, tuple[Near, np.ndarray]] = {}


def atlas(run: Run) -> Generator[tuple[int, int], None, dict[int | None, Atlas]]:
    """Attention over the test images of a run, by class and of all (None), read now unless it was before.

    Yields how many images are done, of how many. Raises `UserError` when data set, prompt file or backbone are not there.
    """
    if run.folder not in _atlases:
        pixels = pictures.test_pixels(run, run.spec.image_size)
        found = yield from _counted(read_atlas(classifier(run).model, pixels, run.labels), len(pixels))
        _keep(_atlases, run.folder, found)
    return _atlases[run.folder]


def near(run: Run) -> Generator[tuple[int, int], None, tuple[Near, np.ndarray]]:
    """What the prompts of a run are near to among its training images, and these images (N, S, S, 3); as `atlas`."""
    if run.folder not in _near:
        pixels = pictures.task_pixels(run, pictures.train_images(run, MOST_TRAIN), run.spec.image_size)
        found = yield from _counted(find_near(classifier(run).model, pixels, NEAREST), len(pixels))
        _keep(_near, run.folder, (found, pixels))
    return _near[run.folder]


def known_near(run: Run) -> tuple[Near, np.ndarray] | None:
    """What `near` found before; None when it was not asked."""
    return _near.get(run.folder)


def near_table(run: Run) -> list[list[object]]:
    """What `near` found, a line for each patch: layer, prompt, rank, image, row, column, cosine, all counted from 1. Empty
    when it was not asked. Raises `UserError` when the data set is gone.
    """
    if run.folder not in _near:
        return []
    found, _ = _near[run.folder]
    names = [pictures.task_of(run).names[i] for i in pictures.train_images(run, MOST_TRAIN)]
    lines: list[list[object]] = []
    for layer, images in enumerate(found.image):
        for k, rank in np.ndindex(images.shape):
            place = [int(grid[layer][k, rank]) + 1 for grid in (found.row, found.column)]
            cosine = round(float(found.cosine[layer][k, rank]), 4)
            lines.append([layer + 1, k + 1, rank + 1, names[images[k, rank]], *place, cosine])
    return lines


def _counted(work: Generator[int, None, object], total: int) -> Generator[tuple[int, int], None, object]:
    while True:
        try:
            yield next(work), total
        except StopIteration as end:
            return end.value


def _keep(kept: dict, folder: Path, found: object) -> None:
    kept[folder] = found
    for old in list(kept)[:-KEPT]:
        kept.pop(old, None)


def has_prompts(run: Run) -> bool:
    """True when there are prompt tokens to look at. Raises `UserError` when the model cannot be loaded."""
    model = classifier(run).model
    return model.backbone.family == "vit" and any(prompt_counts(model))
