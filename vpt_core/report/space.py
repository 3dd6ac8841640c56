"""What the full space of features says before and after tuning, as a table."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vpt_core.analysis import knn_accuracy, separability, silhouette
from vpt_core.errors import UserError
from vpt_core.metrics import Score
from vpt_core.report.document import Element, el, note
from vpt_core.runs import Run

_MEASURES: dict[str, Callable[[np.ndarray, np.ndarray], Score | float]] = {
    "class named by the 5 nearest others": knn_accuracy,
    "silhouette, -1 to 1": silhouette,
    "named right by a linear classifier": separability,
}
_NOTE = (
    "Of the test images, in all {} dimensions. Neighbours and silhouette go by cosine; the linear classifier is ridge "
    "regression on standardised features in 5-fold cross-validation: none names an image that it has learned from. Higher "
    "is better. It says how the features lie, not how the run's own classifier answers."
)


def space(run: Run) -> list[Element]:
    """A table of the measures before and after tuning, and the sentence under it."""
    rows = [el("tr", el("th", ""), el("th", "before tuning"), el("th", "after tuning"))]
    for name, measure in _MEASURES.items():
        rows.append(el("tr", el("th", name), *(el("td", _measured(run, side, measure)) for side in ("frozen", "features"))))
    width = run.array("features").shape[1]
    return [el("div", el("table", *rows), class_="wide"), note(_NOTE.format(width))]


def _measured(run: Run, side: str, measure: Callable[[np.ndarray, np.ndarray], Score | float]) -> str:
    try:
        value = measure(run.array(side), run.labels)
    except UserError:
        return "too few images"
    return f"{value.correct} of {value.total} ({value.accuracy:.0%})" if isinstance(value, Score) else f"{value:.2f}"
