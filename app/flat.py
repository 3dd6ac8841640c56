"""Maps of a run's test images beside another state of them: the untuned backbone's, or another run's of the same result."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app import inside
from app.kept import Kept
from app.results import Result
from app.verdict import labels, percent
from vpt_core.analysis import LAYOUTS, Maps, knn_accuracy, separability, silhouette, two_maps
from vpt_core.errors import UserError
from vpt_core.metrics import Score
from vpt_core.runs import Run

UNTUNED = "before tuning"
MEASURES = {"5 nearest neighbours": knn_accuracy, "silhouette": silhouette, "linear separability": separability}
_drawn: Kept[tuple[Path, str, str], Maps] = Kept(32)


@dataclass(frozen=True)
class Pair:
    """What two maps show: the test images as `run` sees them on the right, on the left as `other` does, or as the untuned
    backbone where there is no other.
    """

    run: Run
    other: Run | None = None

    @property
    def features(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the left and of the right map, (N, d) each."""
        left = self.other.array("features") if self.other else self.run.array("frozen")
        return left, self.run.array("features")

    @property
    def judge(self) -> Run:
        """Whose answers the left map's crosses are."""
        return self.other or self.run


def pair(result: Result, run: Run, other: str) -> Pair:
    """The pair with the run called `other` on the left. One that is not in the result, as a choice of the result before may
    be, and the run itself give way to the untuned backbone.
    """
    return Pair(run, next((one for one in result.runs if one.name == other and one.name != run.name), None))


def titles(result: Result, shown: Pair) -> list[str]:
    """What stands above the two maps."""
    names = dict(zip((run.name for run in result.runs), labels(result), strict=True))
    left = names[shown.other.name] if shown.other else "Before tuning (frozen backbone)"
    if shown.other is not None and shown.other.spec.method == "linear":
        left += ", which leaves the features as they were before tuning"
    return [left, f"After tuning: {names[shown.run.name]}"]


def _key(shown: Pair, method: str) -> tuple[Path, str, str]:
    return shown.run.folder, shown.other.name if shown.other else "", method


def known(shown: Pair, method: str) -> Maps | None:
    """The maps if they were drawn before by this method of `LAYOUTS`; PCA is drawn at once."""
    if method == "pca":
        return draw(shown, method)
    if method == "umap" and shown.other is None:
        return inside.recorded_maps(shown.run)
    return _drawn.known(_key(shown, method))


def draw(shown: Pair, method: str) -> Maps:
    """The maps, drawn now unless they were before. Raises `UserError` for too few images and for an unknown method."""
    if method == "umap" and shown.other is None:
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
    left = _numbers(shown.judge.folder, "features" if shown.other else "frozen")
    right = _numbers(shown.run.folder, "features")
    sides = [title.split(",")[0] for title in titles(result, shown)]
    data = [list(row) for row in zip(MEASURES, left, right, strict=True)]
    return {"headers": ["in all dimensions", *sides], "data": data}


@lru_cache(maxsize=64)
def _numbers(folder: Path, name: str) -> tuple[str, str, str]:
    run = Run(folder)
    features, truth = run.array(name), run.labels
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
