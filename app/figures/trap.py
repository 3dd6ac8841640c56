"""Chart of a trap: accuracy with the stamps and with others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from app.components import figure, plain
from app.figures.colours import NEUTRAL, colour
from vpt_core.traps import Sprung


def trap_figure(found: Mapping[str, Sprung]) -> dict[str, Any]:
    """Accuracy of each run by name on the test images as they were and on their twins, with chance as a line."""
    first = next(iter(found.values()))
    rows = ["with the stamps", *first.scores]
    fig = go.Figure()
    for i, (name, sprung) in enumerate(found.items()):
        scores = [sprung.seen, *sprung.scores.values()]
        fig.add_bar(y=rows, x=[100 * s.accuracy for s in scores], name=plain(name, 60), marker={"color": colour(i)},
                    orientation="h", text=[f"{s.correct} of {s.total}" for s in scores], textposition="outside",
                    cliponaxis=False, hovertext=[f"{plain(name)}<br>{s}" for s in scores], hoverinfo="text")
    fig.add_vline(x=100 / first.classes, line={"dash": "dot", "width": 2, "color": NEUTRAL})
    fig.update_xaxes(title="test accuracy; dotted: by chance", range=[0, 145], tickvals=[0, 50, 100],
                     ticktext=["0 %", "50 %", "100 %"])
    fig.update_yaxes(autorange="reversed")
    fig.update_layout(barmode="group", bargap=0.25, height=130 + len(rows) * (14 + 18 * len(found)))
    return figure(fig)
