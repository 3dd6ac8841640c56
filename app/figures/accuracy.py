"""Chart of test accuracy against what it costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure, plain
from app.figures.colours import NEUTRAL, RIGHT, colour, faded
from app.verdict import interval, percent, size
from vpt_core.comparison import Comparison
from vpt_core.paired import p_text
from vpt_core.standing import Standing
from vpt_core.worth import SIGNIFICANT, is_prompted

FEW = 4
"""Methods that one look can tell apart by colour in a legend; more of them get a row each with their name on it."""


def accuracy_figure(compared: Comparison) -> dict[str, Any] | None:
    """Test accuracy with its 95 % interval and each seed as a small dot: over trained parameters (log axis), or of more than
    `FEW` methods in a row each, the cheapest on top. None without test images.
    """
    if not compared.standings[0].images:
        return None
    fig = _scatter(compared) if len(compared.standings) <= FEW else _rows(compared)
    fig.update_layout(uirevision=revision(compared))
    return figure(fig)


def revision(compared: Comparison) -> str:
    """Differs between comparisons, so that what was hidden by a click in the legend of one is not hidden in the next."""
    return " ".join(run.name for standing in compared.standings for run in standing.runs)


def _scatter(compared: Comparison) -> go.Figure:
    fig = go.Figure()
    trained = [s.trained for s in compared.standings]
    ends = [min(trained) / 2.5, max(trained) * 2.5]
    chance = _same_class(compared)
    fig.add_scatter(x=ends, y=[100 * chance] * 2, mode="lines", name=f"always the same class: {percent(chance)}",
                    hoverinfo="skip", line={"dash": "dot", "width": 2, "color": NEUTRAL})
    for i, standing in enumerate(compared.standings):
        fig.add_scatter(
            x=[standing.trained], y=[100 * standing.score.accuracy], name=plain(standing.label, 80), mode="markers",
            error_y=_bars(standing), hovertext=_said(compared, i), hoverinfo="text", legendgroup=str(i),
            marker={"size": 13, "color": colour(i)},
        )
        if len(standing.seeds) > 1:  # beside the interval, or its line would hide them
            fig.add_scatter(x=[1.12 * standing.trained] * len(standing.seeds), y=_shares(standing), legendgroup=str(i),
                            **_dots(standing, colour(i)))
    fig.update_xaxes(type="log", title="trained parameters", range=np.log10(ends).tolist(),
                     tickvals=[d * 10**e for e in range(2, 10) for d in (1, 3)], tickformat="~s")
    fig.update_yaxes(title="test accuracy", ticksuffix=" %", range=[0, 103])
    return fig


def _rows(compared: Comparison) -> go.Figure:
    order = sorted(range(len(compared.standings)), key=lambda i: compared.standings[i].trained)
    chance = _same_class(compared)
    fig = go.Figure()
    fig.add_scatter(x=[100 * chance] * 2, y=[-0.6, len(order) - 0.4], mode="lines", hoverinfo="skip",
                    name=f"always the same class: {percent(chance)}", line={"dash": "dot", "width": 2, "color": NEUTRAL})
    for title, prompted, ink in (("with prompts", True, RIGHT), ("without prompts", False, NEUTRAL)):
        mine = [(row, i) for row, i in enumerate(order) if is_prompted(compared.standings[i]) == prompted]
        if mine:  # a key of its own: the first point may be a hollow one
            key = {"size": 13, "color": ink}
            fig.add_scatter(x=[None], y=[None], mode="markers", marker=key, name=title, legendgroup=title)
        for row, i in mine:
            standing = compared.standings[i]
            good = compared.p_values[i] >= SIGNIFICANT
            marker = {"size": 13, "color": ink, "symbol": "circle" if good else "circle-open", "line": {"width": 2}}
            fig.add_scatter(x=[100 * standing.score.accuracy], y=[row], error_x=_bars(standing), mode="markers", marker=marker,
                            name=title, legendgroup=title, showlegend=False, hovertext=_said(compared, i), hoverinfo="text")
            if len(standing.seeds) > 1:
                fig.add_scatter(x=_shares(standing), y=[row + 0.27] * len(standing.seeds), legendgroup=title,
                                **_dots(standing, ink))
    names = [f"{plain(compared.standings[i].label, 26)}<br>{compared.standings[i].trained:,}" for i in order]
    fig.update_xaxes(title="test accuracy", ticksuffix=" %", range=[0, 103])
    fig.update_yaxes(tickvals=list(range(len(order))), ticktext=names, range=[len(order) - 0.4, -0.6], showgrid=False,
                     zeroline=False)
    fig.update_layout(height=130 + 40 * len(order))
    return fig


def _same_class(compared: Comparison) -> float:
    """The share of test images in their most frequent class."""
    labels = compared.standings[0].runs[0].labels
    return np.bincount(labels).max() / len(labels)


def _bars(standing: Standing) -> dict[str, Any]:
    low, high = standing.interval
    mean = standing.score.accuracy
    return {"type": "data", "array": [100 * (high - mean)], "arrayminus": [100 * (mean - low)], "width": 7}


def _shares(standing: Standing) -> list[float]:
    return [100 * score.accuracy for score in standing.scores]


def _dots(standing: Standing, ink: str) -> dict[str, Any]:
    said = [f"{plain(standing.label, 80)}, seed {seed}: {score.correct} of {score.total} right"
            for seed, score in zip(standing.seeds, standing.scores, strict=True)]
    return {"mode": "markers", "marker": {"size": 6, "color": faded(ink, 0.7)}, "hovertext": said, "hoverinfo": "text",
            "showlegend": False}


def _said(compared: Comparison, i: int) -> str:
    standing = compared.standings[i]
    seeds = len(standing.seeds)
    right = f"{standing.words} right" if seeds == 1 else f"{standing.words} right, the mean of {seeds} seeds"
    against = "" if i == compared.best else f"<br>against the best method: {p_text(compared.p_values[i])}"
    return (f"<b>{plain(standing.label, 80)}</b><br>{right}, 95 % interval {interval(standing)}{against}<br>"
            f"{standing.trained:,} trained parameters, {size(standing.file_bytes)}, {standing.seconds:.1f} s"
            ).replace("p < ", "p &lt; ")
