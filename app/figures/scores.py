"""Charts of how good the methods are on the classes of the test images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure, plain
from app.figures.accuracy import FEW, revision
from app.figures.colours import RIGHT, WRONG, colour, faded
from app.verdict import interval, predicted
from vpt_core.comparison import Comparison
from vpt_core.metrics import Score, confusion, seeds_interval
from vpt_core.runs import Run
from vpt_core.standing import Standing

MOST_CLASSES = 30  # bars of more classes would not be read
MOST_COUNTS = 12  # classes of a confusion matrix whose cells have room for a number


@dataclass(frozen=True)
class _Class:
    """What a method reaches on the images of one class, over all its seeds."""

    score: Score
    interval: tuple[float, float]


def classes_figure(compared: Comparison) -> dict[str, Any] | None:
    """Test accuracy of each class, over all seeds: grouped bars, a colour a method, or of more than `FEW` methods a table of
    shades, a row a method. None without test images. Of more than `MOST_CLASSES` classes those where the methods differ most.
    """
    standings, classes = compared.standings, compared.standings[0].runs[0].classes
    if not standings[0].images:
        return None
    scores = [_by_class(standing) for standing in standings]
    shown = _shown_classes(scores)
    kept = [[mine[k] for k in shown] for mine in scores]
    few = len(standings) <= FEW
    names = [plain(standing.label, 80 if few else 26) for standing in standings]
    fig = (_bars if few else _shades)(names, [plain(classes[k], 24) for k in shown], kept)
    fig.update_layout(uirevision=revision(compared))
    return figure(fig)


def _by_class(standing: Standing) -> list[_Class]:
    label = {name: k for run in standing.runs for name, k in zip(run.image_names, run.labels.tolist(), strict=True)}
    counts: list[list[tuple[int, int]]] = [[] for _ in standing.runs[0].classes]
    for name, count in standing.images.items():
        counts[label[name]].append(count)
    columns = [np.array(mine, dtype=np.int64).reshape(-1, 2).T for mine in counts]
    return [_Class(Score(int(right.sum()), int(tested.sum())), seeds_interval(right, tested)) for right, tested in columns]


def _bars(names: list[str], classes: list[str], scores: list[list[_Class]]) -> go.Figure:
    fig = go.Figure()
    for i, (name, mine) in enumerate(zip(names, scores, strict=True)):
        fig.add_bar(
            y=list(range(len(classes))), x=[100 * c.score.accuracy for c in mine], orientation="h", name=name,
            marker={"color": colour(i)}, text=[f"{c.score.correct} of {c.score.total}" for c in mine], textposition="outside",
            cliponaxis=False, hovertext=_said(name, classes, mine), hoverinfo="text",
        )
    fig.update_xaxes(ticksuffix=" %", range=[0, 115], dtick=25)
    fig.update_yaxes(tickvals=list(range(len(classes))), ticktext=classes, autorange="reversed")
    fig.update_layout(barmode="group", bargap=0.25, height=110 + len(classes) * (14 + 18 * len(names)))
    return fig


def _shades(names: list[str], classes: list[str], scores: list[list[_Class]]) -> go.Figure:
    share = [[c.score.accuracy for c in mine] for mine in scores]
    said = [_said(name, classes, mine) for name, mine in zip(names, scores, strict=True)]
    fig = go.Figure(go.Heatmap(z=share, zmin=0, zmax=1, xgap=1, ygap=1, showscale=False, hovertext=said, hoverinfo="text",
                               colorscale=[[0, faded(RIGHT, 0.05)], [1, faded(RIGHT, 0.8)]]))
    if len(classes) <= MOST_COUNTS:
        rows, columns = np.indices((len(names), len(classes))).reshape(2, -1)
        fig.add_scatter(x=columns, y=rows, text=[f"{100 * v:.0f}" for row in share for v in row], mode="text",
                        hoverinfo="skip", showlegend=False)
    fig.update_xaxes(tickvals=list(range(len(classes))), ticktext=classes, tickangle=-45, showgrid=False, zeroline=False,
                     range=[-0.5, len(classes) - 0.5])
    fig.update_yaxes(tickvals=list(range(len(names))), ticktext=names, showgrid=False,
                     zeroline=False, range=[len(names) - 0.5, -0.5])
    fig.update_layout(height=130 + 32 * len(names))
    return fig


def _said(name: str, classes: list[str], mine: list[_Class]) -> list[str]:
    return [f"{name}<br>{label}: {c.score.correct} of {c.score.total}, 95 % interval {interval(c)}"
            for label, c in zip(classes, mine, strict=True)]


def _shown_classes(scores: list[list[_Class]]) -> list[int]:
    """Numbers of the classes to show, all of which have test images."""
    tested = [k for k, c in enumerate(scores[0]) if c.score.total]
    correct = {k: [mine[k].score.correct for mine in scores] for k in tested}
    spread = {k: max(correct[k]) - min(correct[k]) for k in tested}
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
