"""Charts of attribution: how a map fares against random orders, and what each prompt adds."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure
from app.figures.colours import RIGHT, WRONG, colour, faded
from vpt_core.analysis import Deletion, PromptAttribution


def deletion_figure(tested: Deletion) -> dict[str, Any]:
    """Probability of the class by the share of patches taken out, or shown, in the order of the map and of random orders."""
    share = (100 * tested.shares).tolist()
    fig = go.Figure()
    for title, mine, random, ink in (
        ("taken out", tested.deletion, tested.random_deletion, WRONG),
        ("shown", tested.insertion, tested.random_insertion, RIGHT),
    ):
        for i, curve in enumerate(random.tolist()):
            fig.add_scatter(x=share, y=curve, mode="lines", hoverinfo="skip", line={"color": faded(ink, 0.35), "width": 1.5},
                            name=f"{title}, random orders", legendgroup=f"{title} random", showlegend=i == 0)
        said = [f"{s:.0f} % of the patches {title}, best first: probability {p:.2f}" for s, p in zip(share, mine, strict=True)]
        fig.add_scatter(x=share, y=mine.tolist(), mode="lines+markers", line={"color": ink, "width": 3}, hovertext=said,
                        hoverinfo="text", name=f"{title} by the map")
    fig.update_xaxes(title="share of the patches", ticksuffix=" %", range=[-2, 102])
    fig.update_yaxes(title="probability of the class", range=[-0.03, 1.03], tickformat=".0%")
    return figure(fig)


def prompts_figure(found: PromptAttribution) -> dict[str, Any]:
    """What each prompt adds to the score, a row a layer: teal speaks for the class, red against it."""
    rows, count = found.shares.shape
    most = float(np.abs(found.shares).max()) or 1.0
    said = [[f"{row}, prompt {k + 1}: {value:+.3g}" for k, value in enumerate(values)]
            for row, values in zip(found.rows, found.shares.tolist(), strict=True)]
    fig = go.Figure(go.Heatmap(
        z=found.shares.tolist(), x=list(range(1, count + 1)), y=list(range(rows)), zmin=-most, zmax=most, xgap=1, ygap=1,
        colorscale=[[0, WRONG], [0.5, faded(colour(7), 0.08)], [1, RIGHT]], hovertext=said, hoverinfo="text",
        colorbar={"title": {"text": "adds"}, "thickness": 12},
    ))  # fmt: skip
    fig.update_xaxes(title="prompt", showgrid=False, zeroline=False, dtick=1 if count <= 20 else None)
    fig.update_yaxes(tickvals=list(range(rows)), ticktext=list(found.rows), autorange="reversed", showgrid=False,
                     zeroline=False)
    fig.update_layout(height=110 + 24 * max(3, rows))
    return figure(fig)
