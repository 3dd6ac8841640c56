"""Knock-outs of a run: computed on demand, and kept in its folder."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import lru_cache
from pathlib import Path

import numpy as np

from app import pictures, visitors
from app.models import classifier
from app.results import RECORDED
from app.warmup import forward_seconds
from vpt_core.analysis import Knockout, knock_out, load_knockout, removals, save_knockout
from vpt_core.embed import drain
from vpt_core.ledger import FLOAT32
from vpt_core.runs import Run
from vpt_core.shortage import shortages_in_words


def knocked_out(
    run: Run, scope: str, count: int, image: int, stop: Callable[[], bool]
) -> Generator[tuple[int, int], None, Knockout]:
    """Knock-outs on `count` test images, the chosen `image` first. Yields pairs of image and removal done, and of how many.

    Raises `UserError` when the run has no prompts to take away, the data set is not there, or a visitor has no room to `keep`
    what will be found.
    """
    model, some = classifier(run).model, pictures.even(run.labels, count, image)
    visitors.check_room(FLOAT32 * len(removals(model, scope)) * len(some) * (len(run.classes) + 1))
    pixels = pictures.test_pixels(run, run.spec.image_size, some)
    return (yield from knock_out(model, pixels, run.labels[some], scope, some, stop))


def with_image(run: Run, scope: str, found: Knockout, image: int) -> Knockout:
    """The knock-outs of a scope that were `found`, and those of one more test image. Raises `UserError` as `knocked_out`."""
    some = np.array([image])
    pixels = pictures.test_pixels(run, run.spec.image_size, some)
    more = drain(knock_out(classifier(run).model, pixels, run.labels[some], scope, some))
    joined = {name: np.concatenate([getattr(found, name), getattr(more, name)], axis=axis)
              for name, axis in (("images", 0), ("labels", 0), ("whole", 0), ("without", 1), ("attention", 1))}
    return Knockout(found.removals, **joined)


def keep(run: Run, scope: str, found: Knockout) -> None:
    """Write `found` into the run's folder, unless that holds one of more images. Recorded runs stay as they are."""
    before = known(run, scope)
    if run.folder.parent != RECORDED and (before is None or len(before.images) <= len(found.images)):
        with shortages_in_words():
            save_knockout(found, run.knockout_file(scope))


def known(run: Run, scope: str) -> Knockout | None:
    """What was kept of a scope, if anything."""
    file = run.knockout_file(scope)
    return _read(file, file.stat().st_mtime_ns) if file.exists() else None


@lru_cache(maxsize=8)
def _read(file: Path, written: int) -> Knockout:
    """The knock-out of a file, which was `written` at that time."""
    return load_knockout(file)


def seconds(run: Run, scope: str, count: int) -> float:
    """A guess at how long knock-outs on `count` images take. Raises `UserError` as `knocked_out` does."""
    model = classifier(run).model
    every, depth = removals(model, scope), model.backbone.depth
    tokens = 1 + int(np.prod(model.backbone.grid(run.spec.image_size)))
    passes = 2 + sum((depth - one.first + 1) / depth for one in every)
    return count * passes * forward_seconds(model.backbone.params, tokens)
