"""Maps of a run's test images beside another state of them: the untuned backbone's, or another run's of the same result."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app import inside, looking
from app.journeys import LAST
from app.kept import Kept
from app.results import Result
from app.verdict import labels, percent
from vpt_core.analysis import LAYOUTS, Maps, knn_accuracy, separability, silhouette, two_maps
from vpt_core.embed import drain
from vpt_core.errors import UserError
from vpt_core.metrics import Score
from vpt_core.runs import Run

UNTUNED = "before tuning"
MEASURES = {"5 nearest neighbours": knn_accuracy, "silhouette": silhouette, "linear separability": separability}
_drawn: Kept[tuple[Path, str, int, str], Maps] = Kept(32)


@dataclass(frozen=True)
class Pair:
    """What two maps show: the test images as `run` sees them on the right, on the left as `other` does, or as the untuned
    backbone where there is no other; as they are after `layer`, counted from 1, or after the `LAST` one.
    """

    run: Run
    other: Run | None = None
    layer: int = LAST

    @property
    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the left and of the right map, (N, d) each."""
        return _features(self.judge, self.other is None, self.layer), _features(self.run, False, self.layer)

    @property
    def is_read(self) -> bool:
        """True when the features are at hand: those of an earlier layer have to be read first."""
        sides = ((self.judge, self.other is None), (self.run, False))
        return self.layer == LAST or all(looking.layers_known(run, frozen) for run, frozen in sides)

    def read(self) -> Generator[tuple[int, int], None, None]:
        """Get the features of an earlier layer, of both sides. Yields how many images of how many went through a model.
        Raises `UserError` when data set, prompt file or backbone are not there.
        """
        if self.layer != LAST:
            yield from looking.layered(self.judge, self.other is None)
            yield from looking.layered(self.run, False)

    @property
    def judge(self) -> Run:
        """Whose answers the left map's crosses are."""
        return self.other or self.run


def _features(run: Run, frozen: bool, layer: int) -> np.ndarray:
    if layer == LAST:
        return run.array("frozen" if frozen else "features")
    return drain(looking.layered(run, frozen))[layer - 1]


def pair(result: Result, run: Run, other: str, layer: int = LAST) -> Pair:
    """The pair with the run called `other` on the left. One that is not in the result, as a choice of the result before may
    be, and the run itself give way to the untuned backbone.
    """
    return Pair(run, next((one for one in result.runs if one.name == other and one.name != run.name), None), layer)


def titles(result: Result, shown: Pair) -> list[str]:
    """What stands above the two maps."""
    names = dict(zip((run.name for run in result.runs), labels(result), strict=True))
    left = names[shown.other.name] if shown.other else "Before tuning (frozen backbone)"
    at = f", layer {shown.layer}" if shown.layer != LAST else ""
    if shown.other is not None and shown.other.spec.method == "linear":
        left += ", which leaves the features as they were before tuning"
    return [left + at, f"After tuning: {names[shown.run.name]}{at}"]


def _key(shown: Pair, method: str) -> tuple[Path, str, int, str]:
    return shown.run.folder, shown.other.name if shown.other else "", shown.layer, method


def known(shown: Pair, method: str) -> Maps | None:
    """The maps if they were drawn before by this method of `LAYOUTS`; PCA is drawn at once."""
    if method == "pca":
        return draw(shown, method)
    if method == "umap" and shown.other is None and shown.layer == LAST:
        return inside.recorded_maps(shown.run)
    return _drawn.known(_key(shown, method))


def draw(shown: Pair, method: str) -> Maps:
    """The maps, drawn now unless they were before. Raises `UserError` for too few images and for an unknown method."""
    if method == "umap" and shown.other is None and shown.layer == LAST:
        return inside.draw_maps(shown.run)
    return _drawn.find(_key(shown, method), lambda: two_maps(*shown.features, method))


def best_known(shown: Pair, method: str) -> Maps:
    """The maps as they are known by now: until they are drawn, those by PCA."""
    return known(shown, method) or draw(shown, "pca")


def drawn_by(maps: Maps, method: str) -> str:
    """How the maps were made, in a sentence."""
    same = " Both maps are the same: the features are." if np.array_equal(maps.before, maps.after) else ""
    return f"Drawn by {LAYOUTS[method].title}.{same}"


def table(result: Result, shown: Pair) -> dict[str, Any]:
    """The value of a `gr.Dataframe`: what the full space says of the left and of the right side."""
    left = _numbers(shown.judge.folder, shown.other is None, shown.layer)
    right = _numbers(shown.run.folder, False, shown.layer)
    sides = [title.split(",")[0] for title in titles(result, shown)]
    data = [list(row) for row in zip(MEASURES, left, right, strict=True)]
    where = "in all dimensions" if shown.layer == LAST else f"in all dimensions of layer {shown.layer}"
    return {"headers": [where, *sides], "data": data}


@lru_cache(maxsize=64)
def _numbers(folder: Path, frozen: bool, layer: int) -> tuple[str, str, str]:
    run = Run(folder)
    features, truth = _features(run, frozen, layer), run.labels
    found = []
    for measure in MEASURES.values():
        try:
            found.append(_shown(measure(features, truth)))
        except UserError:  # too few images or classes for this one
            found.append("too few images")
    return tuple(found)


def _shown(value: Score | float) -> str:
    if isinstance(value, Score):
        return f"{value.correct} of {value.total} ({percent(value.accuracy)})"
    return f"{value:.2f}"


def choices() -> list[tuple[str, str]]:
    """The ways to draw a map, for a radio."""
    return [(layout.title, name) for name, layout in LAYOUTS.items()]


def both(maps: Maps) -> np.ndarray:
    """Both maps as one array (2, N, 2)."""
    return np.stack([maps.before, maps.after])
