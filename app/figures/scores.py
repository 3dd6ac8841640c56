"""Charts of how good the methods are on the test images."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure, plain
from app.figures.colours import NEUTRAL, RIGHT, WRONG, colour, faded
from app.results import Result
from app.verdict import interval, labels, percent, predicted, seconds, size
from vpt_core.metrics import Score, confusion, per_class
from vpt_core.runs import Run

MOST_CLASSES = 30  # bars of more classes would not be read
MOST_COUNTS = 12  # classes of a confusion matrix whose cells have room for a number


def accuracy_figure(result: Result) -> dict[str, Any] | None:
    """Test accuracy with its 95 % interval over trained parameters (log axis), a point a run; None without test images."""
    if not result.runs[0].test.total:
        return None
    fig = go.Figure()
    trained = [run.status["trained"] for run in result.runs]
    ends = [min(trained) / 2.5, max(trained) * 2.5]
    most = np.bincount(result.runs[0].labels).max() / result.runs[0].test.total
    fig.add_scatter(x=ends, y=[100 * most] * 2, mode="lines", name=f"always the same class: {percent(most)}", hoverinfo="skip",
                    line={"dash": "dot", "width": 2, "color": NEUTRAL})
    for i, (name, run) in enumerate(zip(labels(result), result.runs, strict=True)):
        status, test = run.status, run.test
        low, high = test.interval
        said = (f"<b>{plain(name, 80)}</b><br>{test.correct} of {test.total} right, 95 % interval {interval(test)}<br>"
                f"{status['trained']:,} trained parameters, {size(status['file_bytes'])}, {seconds(run):.1f} s")
        error = {"array": [100 * (high - test.accuracy)], "arrayminus": [100 * (test.accuracy - low)], "width": 7}
        fig.add_scatter(
            x=[status["trained"]], y=[100 * test.accuracy], name=plain(name, 80), mode="markers", error_y=error,
            hovertext=said, hoverinfo="text", marker={"size": 13, "color": colour(i)},
        )
    fig.update_xaxes(type="log", title="trained parameters", range=np.log10(ends).tolist(),
                     tickvals=[d * 10**e for e in range(2, 10) for d in (1, 3)], tickformat="~s")
    fig.update_yaxes(title="test accuracy", ticksuffix=" %", range=[0, 103])
    return figure(fig)


def classes_figure(result: Result) -> dict[str, Any] | None:
    """Test accuracy of each class as grouped bars, a colour a run; None without test images.

    Of more than `MOST_CLASSES` classes those where the runs differ most are shown.
    """
    run = result.runs[0]
    if not run.test.total:
        return None
    scores = [per_class(predicted(r), r.labels, len(run.classes)) for r in result.runs]
    shown = _shown_classes(scores)
    fig = go.Figure()
    for i, (name, mine) in enumerate(zip(labels(result), scores, strict=True)):
        some = [mine[k] for k in shown]
        fig.add_bar(
            y=list(range(len(shown))), x=[100 * s.accuracy for s in some], orientation="h",
            name=plain(name, 80), marker={"color": colour(i)}, text=[f"{s.correct} of {s.total}" for s in some],
            textposition="outside", cliponaxis=False,
            hovertext=[f"{plain(name, 80)}<br>{plain(run.classes[k])}: {s.correct} of {s.total}, 95 % interval {interval(s)}"
                       for k, s in zip(shown, some, strict=True)], hoverinfo="text",
        )
    fig.update_xaxes(ticksuffix=" %", range=[0, 115], dtick=25)
    names = [plain(run.classes[k], 24) for k in shown]
    fig.update_yaxes(tickvals=list(range(len(shown))), ticktext=names, autorange="reversed")
    fig.update_layout(barmode="group", bargap=0.25, height=110 + len(shown) * (14 + 18 * len(result.runs)))
    return figure(fig)


def _shown_classes(scores: list[list[Score]]) -> list[int]:
    """Numbers of the classes to show, all of which have test images."""
    tested = [k for k, s in enumerate(scores[0]) if s.total]
    spread = {k: max(s[k].correct for s in scores) - min(s[k].correct for s in scores) for k in tested}
    most = sorted(tested, key=lambda k: -spread[k])[:MOST_CLASSES]
    return sorted(most)


def confusion_figure(run: Run, name: str) -> dict[str, Any] | None:
    """Test images by true class (row) and class predicted by the run called `name` (column): right ones teal, wrong ones red,
    stronger for a larger share of the row. None without test images. A click's `index` is [true class, predicted class].
    """
    if not run.test.total:
        return None
    counts = confusion(predicted(run), run.labels, len(run.classes))
    share = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    diagonal = np.eye(len(counts), dtype=bool)
    names = [plain(name, 16) for name in run.classes]
    said = [[f"true {a}, called {b}: {n} of {sum(row)}" for b, n in zip(names, row, strict=True)]
            for a, row in zip(names, counts.tolist(), strict=True)]
    fig = go.Figure()
    for cells, ink in ((diagonal, RIGHT), (~diagonal, WRONG)):
        z = np.where(cells & (counts > 0), share, np.nan)
        fig.add_heatmap(
            z=[[None if np.isnan(v) else v for v in row] for row in z.tolist()], zmin=0, zmax=1, xgap=1, ygap=1,
            showscale=False, colorscale=[[0, faded(ink, 0.12)], [1, faded(ink, 0.8)]],
            hoverongaps=False, hovertext=said, hoverinfo="text",
        )
    if len(names) <= MOST_COUNTS:  # a trace of its own, since a heat map's own text ignores the page's ground
        rows, columns = np.nonzero(counts)
        fig.add_scatter(x=columns, y=rows, text=[str(n) for n in counts[rows, columns]], mode="text", hoverinfo="skip",
                        showlegend=False)
    ticks = {"tickvals": list(range(len(names))), "ticktext": names, "showgrid": False, "zeroline": False}
    fig.update_xaxes(**ticks, title="predicted class", tickangle=-45, range=[-0.5, len(names) - 0.5], constrain="domain")
    fig.update_yaxes(**ticks, title="true class", range=[len(names) - 0.5, -0.5], scaleanchor="x", constrain="domain")
    fig.update_layout(title={"text": plain(name, 60), "x": 0.5, "font": {"size": 15}}, margin={"t": 40})
    return figure(fig)
