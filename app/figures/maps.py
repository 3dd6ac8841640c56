"""The chart of a two-dimensional map of test images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app import pictures
from app.components import COLOURS, figure, plain
from app.figures.colours import NEUTRAL, RIGHT, WRONG, colour
from app.results import Result
from app.verdict import predicted
from vpt_core.errors import UserError
from vpt_core.runs import Run

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon")  # one for each round through the colours
CROSS = "x"
MOST_NAMES = 12  # classes in the legend
FAINT = 0.12


def map_figure(run: Run, places: np.ndarray, both: np.ndarray, result: Result, *, by: str = "class", only: int | None = None,
               chosen: int | None = None) -> dict[str, Any]:
    """One map, places (N, 2), on the axes of `both` maps (2, N, 2); a click's `customdata` is the number of the image.

    Points have their true class's colour, or with `by` = "right" that of right and wrong; wrong ones are crosses.
    `only` makes all classes but one faint; `chosen` gets a ring. Without the data set the pictures are left out.
    """
    fig = go.Figure()
    truth, said = run.labels, predicted(run)
    words = np.array(_words(run, said), dtype=object)
    for name, ink, symbol in _legend(run, by):
        fig.add_scatter(x=[None], y=[None], mode="markers", name=name, marker={"color": ink, "symbol": symbol, "size": 9})
    for mine, look in _groups(run, truth, truth == said, by, only):
        fig.add_scatter(
            x=places[mine, 0], y=places[mine, 1], mode="markers", customdata=np.flatnonzero(mine).tolist(),
            hovertext=words[mine].tolist(), hoverinfo="text", showlegend=False, **look,
        )
    if chosen is not None:
        fig.add_scatter(x=places[[chosen], 0], y=places[[chosen], 1], mode="markers", hoverinfo="skip", showlegend=False,
                        marker={"symbol": "circle-open", "size": 20, "color": COLOURS[3], "line": {"width": 3}})
    for axis, values in (("xaxis", both[..., 0]), ("yaxis", both[..., 1])):
        pad = 0.06 * float(np.ptp(values)) + 1e-6
        fig.update_layout({axis: {"range": [float(values.min()) - pad, float(values.max()) + pad], "showticklabels": False,
                                  "showgrid": False, "zeroline": False}})
    fig.update_layout(legend={"itemclick": False, "itemdoubleclick": False}, margin={"l": 12, "r": 12, "b": 12})
    try:
        return figure(fig, pictures.sheet(result))
    except UserError:  # the tab says that the data set is gone; the map shows without pictures
        return figure(fig)


def _words(run: Run, said: np.ndarray) -> list[str]:
    classes = [plain(name) for name in run.classes]
    names = [plain(name) for name in run.image_names]
    return [f"{i + 1}: {names[i]}<br>true: {classes[t]}<br>predicted: {classes[p]}"
            for i, (t, p) in enumerate(zip(run.labels, said, strict=True))]


def _legend(run: Run, by: str) -> Iterator[tuple[str, str, str]]:
    """Name, colour and symbol of each entry; more than `MOST_NAMES` classes would take the place of the map."""
    if by == "right":
        yield "right", RIGHT, SYMBOLS[0]
    elif len(run.classes) <= MOST_NAMES:
        for k, name in enumerate(run.classes):
            yield plain(name, 24), colour(k), _symbol(k)
    yield "wrong", WRONG if by == "right" else NEUTRAL, CROSS


def _symbol(k: int) -> str:
    return SYMBOLS[k // len(COLOURS) % len(SYMBOLS)]


def _groups(
    run: Run, truth: np.ndarray, right: np.ndarray, by: str, only: int | None
) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Members (N,) and look of each trace: the right and the wrong ones of every class, where there are some."""
    for k in range(len(run.classes)):
        for good in (True, False):
            mine = (truth == k) & (right == good)
            if not mine.any():
                continue
            ink = colour(k) if by == "class" else RIGHT if good else WRONG
            look = {"color": ink, "symbol": _symbol(k) if good else CROSS, "size": 9}
            yield mine, {"marker": look, "opacity": 0.9 if only in (None, k) else FAINT}
