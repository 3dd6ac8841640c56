"""What looking into many images of a run needs: atlas, near patches, features by layer; with progress, kept in memory."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import numpy as np

from app import pictures
from app.models import classifier
from vpt_core.analysis import Atlas, Near, before_tuning, check_layers, find_near, follow, read_atlas
from vpt_core.analysis.atlas import prompt_counts
from vpt_core.errors import UserError
from vpt_core.runs import Run

KEPT = 8  # runs whose atlas and near patches stay in memory
KEPT_LAYERS = 4  # features of so many models: up to 70 MB each
MOST_TRAIN = 200  # training images whose patches are looked through
NEAREST = 12
_atlases: dict[Path, dict[int | None, Atlas]] = {}
_near: dict[Path, tuple[Near, np.ndarray]] = {}
_layered: dict[tuple[Path, bool], np.ndarray] = {}


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


def layers_of(run: Run) -> list[int]:
    """The layers before the last one that `layered` reads; empty where there are none to read."""
    try:
        model = classifier(run).model
        layers = list(range(1, model.backbone.depth))
        check_layers(model, layers)
    except UserError:  # who asks for a map is told why it cannot be
        return []
    return layers


def layered(run: Run, frozen: bool) -> Generator[tuple[int, int], None, np.ndarray]:
    """Features (L - 1, N, d) of the test images of a run after each layer but the last, in the tuned model or in the frozen
    one; as `atlas`.
    """
    key = _layered_key(run, frozen)
    if key not in _layered:
        model = classifier(run).model
        pixels = pictures.test_pixels(run, run.spec.image_size)
        found = yield from follow([before_tuning(model) if key[1] else model], pixels, 1, range(1, model.backbone.depth))
        _keep(_layered, key, found[0], KEPT_LAYERS)
        return found[0]
    return _layered[key]


def layers_known(run: Run, frozen: bool) -> bool:
    """True when `layered` was asked before."""
    return _layered_key(run, frozen) in _layered


def _layered_key(run: Run, frozen: bool) -> tuple[Path, bool]:
    return run.folder, frozen or run.spec.method == "linear"  # a linear probe leaves the features as they are


def _counted(work: Generator[int, None, object], total: int) -> Generator[tuple[int, int], None, object]:
    while True:
        try:
            yield next(work), total
        except StopIteration as end:
            return end.value


def _keep(kept: dict, key: object, found: object, most: int = KEPT) -> None:
    kept[key] = found
    for old in list(kept)[:-most]:
        kept.pop(old, None)


def has_prompts(run: Run) -> bool:
    """True when there are prompt tokens to look at. Raises `UserError` when the model cannot be loaded."""
    model = classifier(run).model
    return model.backbone.family == "vit" and any(prompt_counts(model))
