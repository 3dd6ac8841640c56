"""Chart of what many tasks cost on one backbone."""

from __future__ import annotations

from collections.abc import Mapping
from math import log10
from typing import Any

import plotly.graph_objects as go

from app.components import figure, plain
from app.figures.colours import NEUTRAL, colour
from app.verdict import size
from vpt_core.ledger import Cost, Entry, entry

COUNTS = (1, 24, 1000)
"""Numbers of tasks; 24 are the paper's."""
_MARKS = ({"size": 17, "symbol": "circle-open", "line": {"width": 3}}, {"size": 9}, {"size": 11, "symbol": "diamond"})
_LABEL = 0.32  # share of the axis that the size beside the last dot needs on a phone


def ledger_figure(costs: Mapping[str, Cost], backbone_bytes: int) -> dict[str, Any]:
    """What is kept, in bytes (log axis), for 1, 24 and 1000 tasks that cost the same: a row for each of `costs` by name,
    the dearest on top, a colour for each number of tasks."""
    rows = sorted((_row(name, cost, backbone_bytes) for name, cost in costs.items()), key=lambda row: row[-1].kept)
    fig = go.Figure()
    fig.add_scatter(x=[backbone_bytes] * 2, y=[-0.6, len(rows) - 0.4], mode="lines", hoverinfo="skip",
                    name=f"one backbone: {size(backbone_bytes)}", line={"dash": "dot", "width": 2, "color": NEUTRAL})
    ends = [x for row in rows for x in (row[0].kept, row[-1].kept, None)]
    heights = [y for y in range(len(rows)) for _ in range(3)]
    fig.add_scatter(x=ends, y=heights, mode="lines", hoverinfo="skip", showlegend=False, line={"width": 2, "color": NEUTRAL})
    for i, count in enumerate(COUNTS):
        column = [row[i] for row in rows]
        last = count == COUNTS[-1]
        fig.add_scatter(
            x=[e.kept for e in column], y=list(range(len(rows))), name=_tasks(count), marker=_MARKS[i] | {"color": colour(i)},
            mode="markers+text" if last else "markers", text=[f" {size(e.kept)}" for e in column] if last else None,
            textposition="middle right", cliponaxis=False, hovertext=[_said(e) for e in column], hoverinfo="text",
        )
    fig.update_xaxes(type="log", title="kept on disk (log scale)", **_axis(backbone_bytes, max(row[-1].kept for row in rows)))
    fig.update_yaxes(tickvals=list(range(len(rows))), ticktext=[plain(row[0].name, 32) for row in rows], showgrid=False,
                     zeroline=False, range=[-0.6, len(rows) - 0.4])
    fig.update_layout(height=130 + 34 * len(rows))
    return figure(fig)


def _row(name: str, cost: Cost, backbone_bytes: int) -> list[Entry]:
    return [entry(name, [cost] * count, backbone_bytes) for count in COUNTS]


def _tasks(count: int) -> str:
    return "1 task" if count == 1 else f"{count} tasks"


def _said(e: Entry) -> str:
    return f"<b>{plain(e.name, 80)}</b><br>{_tasks(e.tasks)}: {size(e.kept)}, {e.multiple:,.2f} × one backbone"


def _axis(low: int, high: int) -> dict[str, Any]:
    """Range and ticks of a log axis that holds `low` to `high` bytes, and labels to the right of that."""
    first = log10(low)
    span = max(0.3, log10(high) - first)
    start = first - 0.06 * span
    digits = (1,) if span > 1.5 else (1, 2, 5)
    ticks = [d * 10**e for e in range(3, 16) for d in digits]
    words = [size(t).replace(".0 ", " ") for t in ticks]
    return {"range": [start, start + 1.06 * span / (1 - _LABEL)], "tickvals": ticks, "ticktext": words}
