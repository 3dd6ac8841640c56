"""The chart of what prompts get of the attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure
from app.figures.colours import RIGHT, faded


def shares_figure(to_prompts: list[np.ndarray]) -> dict[str, Any] | None:
    """Share of attention that goes to the prompts by layer, from L arrays (H, p): mean over heads, band from the lowest to
    the highest head. None where no layer has prompts.
    """
    if not any(shares.shape[1] for shares in to_prompts):
        return None
    heads = 100 * np.stack([shares.sum(axis=1) for shares in to_prompts]).astype(np.float64)  # (L, H)
    layers = list(range(1, len(heads) + 1))
    low, mean, high = (edge(heads, axis=1).tolist() for edge in (np.min, np.mean, np.max))
    said = [f"layer {n}: {m:.0f} % (heads {a:.0f} % to {b:.0f} %)" for n, a, m, b in zip(layers, low, mean, high, strict=True)]
    fig = go.Figure()
    fig.add_scatter(x=layers, y=low, mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
    fig.add_scatter(x=layers, y=high, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=faded(RIGHT, 0.2),
                    name="lowest to highest head", hoverinfo="skip")
    fig.add_scatter(x=layers, y=mean, mode="lines+markers", line={"color": RIGHT, "width": 2}, name="mean of the heads",
                    hovertext=said, hoverinfo="text")
    fig.update_xaxes(title="layer", dtick=1 if len(layers) <= 12 else 2)
    fig.update_yaxes(title="attention to the prompts", ticksuffix=" %", range=[0, min(100, max(high) * 1.15 + 1)])
    return figure(fig)
