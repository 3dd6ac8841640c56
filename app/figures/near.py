"""The chart of how similar the prompts of a layer are."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure
from app.figures.colours import RIGHT, WRONG


def among_figure(among: np.ndarray) -> dict[str, Any]:
    """Cosines of the prompts' keys (p, p) as a map: teal alike, red opposite, no colour where they have nothing in common."""
    count = len(among)
    names = [str(k + 1) for k in range(count)]
    said = [[f"prompts {a} and {b}: cosine {among[i, j]:+.2f}" for j, b in enumerate(names)] for i, a in enumerate(names)]
    scale = [[0, WRONG], [0.5, "rgba(127,127,127,0.06)"], [1, RIGHT]]
    z = np.round(among.astype(np.float64), 3).tolist()
    fig = go.Figure(go.Heatmap(z=z, x=list(range(1, count + 1)), y=list(range(1, count + 1)), zmin=-1, zmax=1, xgap=1, ygap=1,
                               colorscale=scale, hovertext=said, hoverinfo="text",
                               colorbar={"title": {"text": "cosine"}, "thickness": 12, "outlinewidth": 0}))
    step = max(1, count // 10)
    ticks = {"tickvals": list(range(1, count + 1, step)), "showgrid": False, "zeroline": False}
    fig.update_xaxes(**ticks, title="prompt", constrain="domain", range=[0.5, count + 0.5])
    fig.update_yaxes(**ticks, title="prompt", scaleanchor="x", constrain="domain", range=[count + 0.5, 0.5])
    return figure(fig)
