"""The charts of two-dimensional maps of images: one state, or several that the chart steps through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app import pictures
from app.components import COLOURS, figure, plain
from app.figures.colours import NEUTRAL, RIGHT, WRONG, colour
from app.results import Result
from app.verdict import percent, predicted
from vpt_core.errors import UserError
from vpt_core.metrics import softmax
from vpt_core.runs import Run
from vpt_core.standing import right

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "hexagon")  # one for each round through the colours
CROSS = "x"
MOST_NAMES = 12  # classes in the legend
FAINT = 0.12
CLASS, CORRECT, SURE, SPLIT, METHOD = "class", "right", "confidence", "split", "method"
COLOURINGS = {CLASS: "class", CORRECT: "right or wrong", SURE: "confidence"}
"""What points may be coloured by, in words; besides `SPLIT` where there are images of several splits, `METHOD` where
several methods answered.
"""
AGREEMENT = ("all methods right", "right here, another method wrong", "wrong here, another method right", "all methods wrong")
_AGREEMENT_INKS = (RIGHT, COLOURS[2], WRONG, COLOURS[1])
_SURE_SCALE = ((0.0, COLOURS[1]), (0.5, "#8a8f8c"), (1.0, COLOURS[0]))  # all of it stands out from either ground


@dataclass(frozen=True)
class Points:
    """What a map shows of N images: true and called classes, top confidence, each (N,), the card's words, what a click
    gives (it begins with the number of the thumb), which of them are test images, and whether any and all of the methods
    that are compared get them right: `others` (2, N), where there are some.
    """

    classes: Sequence[str]
    truth: np.ndarray
    said: np.ndarray
    sure: np.ndarray
    words: Sequence[str]
    clicks: Sequence[Any]
    tested: np.ndarray
    others: np.ndarray | None = None

    @property
    def agreement(self) -> np.ndarray:
        """Number (N,) in `AGREEMENT`."""
        some, every = self.others
        return np.where(self.good, np.where(every, 0, 1), np.where(some, 2, 3))

    @property
    def good(self) -> np.ndarray:
        return self.truth == self.said


def points_of(run: Run, runs: Sequence[Run] = ()) -> Points:
    """The test images of a run, in order, compared with those of `runs`; a click gives their number."""
    sure = softmax(run.array("logits")).max(axis=1)
    good = np.stack([right(one) for one in runs or (run,)])
    words = [f"{i + 1}: {plain(name)}" for i, name in enumerate(run.image_names)]
    said, every = predicted(run), np.ones(len(sure), bool)
    return Points(run.classes, run.labels, said, sure, in_words(run.classes, words, run.labels, said, sure),
                  list(range(len(words))), every, np.stack([good.any(axis=0), good.all(axis=0)]))


def in_words(classes: Sequence[str], names: Sequence[str], truth: np.ndarray, said: np.ndarray, sure: np.ndarray) -> list[str]:
    """The text of each card; `names` are plain already."""
    kinds = [plain(name) for name in classes]
    return [f"{name}<br>true: {kinds[t]}<br>predicted: {kinds[p]}, {percent(float(s))}"
            for name, t, p, s in zip(names, truth, said, sure, strict=True)]


def map_figure(run: Run, places: np.ndarray, both: np.ndarray, result: Result, *, by: str = CLASS, only: int | None = None,
               chosen: int | None = None) -> dict[str, Any]:
    """One map, places (N, 2), on the axes of `both` maps (2, N, 2); a click's `customdata` is the number of the image.

    Points have the colour that `by` says; wrong ones are crosses. `only` makes all classes but one faint; `chosen` gets a
    ring. Without the data set the pictures are left out.
    """
    fig = _drawn(points_of(run, result.runs), places, both, by, only, chosen)
    try:
        return figure(fig, pictures.sheet(result))
    except UserError:  # the tab says that the data set is gone; the map shows without pictures
        return figure(fig)


def steps_figure(points: Points, places: np.ndarray, names: Sequence[str], thumbs: dict[str, Any] | None, *, by: str = CLASS,
                 only: int | None = None, chosen: int | None = None) -> dict[str, Any]:
    """Maps (E, N, 2) of the same images as one chart with a step for each: `names` (E,). The colours are the same in all."""
    fig = _drawn(points, places[0], places, by, only, chosen)
    value = figure(fig, thumbs)
    members = [mine for mine, _ in _groups(points, by, only)] + ([np.array([chosen])] if chosen is not None else [])
    first = len(fig.data) - len(members)
    traces = list(range(first, len(fig.data)))
    value["frames"] = [{"name": name, "traces": traces, "data": [_spots(here[mine]) for mine in members]}
                       for name, here in zip(names, np.round(places.astype(float), 3), strict=True)]
    return value


def _spots(places: np.ndarray) -> dict[str, list[float]]:
    return {"x": places[:, 0].tolist(), "y": places[:, 1].tolist()}


def _drawn(points: Points, places: np.ndarray, every: np.ndarray, by: str, only: int | None, chosen: int | None) -> go.Figure:
    fig = go.Figure()
    words = np.array(points.words, dtype=object)
    for name, ink, symbol in _legend(points, by):
        fig.add_scatter(x=[None], y=[None], mode="markers", name=name, marker={"color": ink, "symbol": symbol, "size": 9})
    for mine, look in _groups(points, by, only):
        fig.add_scatter(
            x=places[mine, 0], y=places[mine, 1], mode="markers", customdata=[points.clicks[i] for i in np.flatnonzero(mine)],
            hovertext=words[mine].tolist(), hoverinfo="text", showlegend=False, **look,
        )
    if chosen is not None:
        fig.add_scatter(x=places[[chosen], 0], y=places[[chosen], 1], mode="markers", hoverinfo="skip", showlegend=False,
                        marker={"symbol": "circle-open", "size": 20, "color": COLOURS[3], "line": {"width": 3}})
    for axis, values in (("xaxis", every[..., 0]), ("yaxis", every[..., 1])):
        pad = 0.06 * float(np.ptp(values)) + 1e-6
        fig.update_layout({axis: {"range": [float(values.min()) - pad, float(values.max()) + pad], "showticklabels": False,
                                  "showgrid": False, "zeroline": False}})
    fig.update_layout(legend={"itemclick": False, "itemdoubleclick": False}, margin={"l": 12, "r": 12, "b": 12})
    if by == SURE:
        bar = {"title": {"text": "confidence"}, "tickformat": ".0%", "len": 0.6}
        fig.update_layout(coloraxis={"colorscale": _SURE_SCALE, "cmin": 0, "cmax": 1, "colorbar": bar})
    return fig


def _legend(points: Points, by: str) -> Iterator[tuple[str, str, str]]:
    """Name, colour and symbol of each entry; more than `MOST_NAMES` classes would take the place of the map."""
    if by == CORRECT:
        yield "right", RIGHT, SYMBOLS[0]
    elif by == SPLIT:
        yield "test images", colour(0), SYMBOLS[0]
        yield "training images", colour(1), SYMBOLS[0]
    elif by == METHOD:
        for name, ink in zip(AGREEMENT, _AGREEMENT_INKS, strict=True):
            yield name, ink, SYMBOLS[0]
    elif by == CLASS and len(points.classes) <= MOST_NAMES:
        for k, name in enumerate(points.classes):
            yield plain(name, 24), colour(k), _symbol(k)
    yield "wrong", WRONG if by == CORRECT else NEUTRAL, CROSS


def _symbol(k: int) -> str:
    return SYMBOLS[k // len(COLOURS) % len(SYMBOLS)]


def _groups(points: Points, by: str, only: int | None) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
    """Members (N,) and look of each trace: the right and the wrong ones of every class and split, where there are some."""
    for k in range(len(points.classes)):
        for good in (True, False):
            for tested in (True, False):
                mine = (points.truth == k) & (points.good == good) & (points.tested == tested)
                if mine.any():
                    symbol = (_symbol(k) if by == CLASS else SYMBOLS[0]) if good else CROSS
                    look = {"symbol": symbol, "size": 9, **_ink(points, mine, by, k, good, tested)}
                    yield mine, {"marker": look, "opacity": 0.9 if only in (None, k) else FAINT}


def _ink(points: Points, mine: np.ndarray, by: str, k: int, good: bool, tested: bool) -> dict[str, Any]:
    if by == SURE:
        return {"color": points.sure[mine].tolist(), "coloraxis": "coloraxis"}
    if by == METHOD:
        return {"color": [_AGREEMENT_INKS[a] for a in points.agreement[mine]]}
    return {"color": {CLASS: colour(k), CORRECT: RIGHT if good else WRONG, SPLIT: colour(0 if tested else 1)}[by]}
