"""The chart of what prompts get of the attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure
from app.figures.colours import RIGHT, faded
from vpt_core.analysis import Atlas


def shares_figure(to_prompts: list[np.ndarray]) -> dict[str, Any] | None:
    """Share of attention that goes to the prompts by layer, from L arrays (H, p): mean over heads, band from the lowest to
    the highest head. None where no layer has prompts.
    """
    if not any(shares.shape[1] for shares in to_prompts):
        return None
    heads = 100 * np.stack([shares.sum(axis=1) for shares in to_prompts]).astype(np.float64)  # (L, H)
    low, mean, high = (edge(heads, axis=1) for edge in (np.min, np.mean, np.max))
    return _banded(low, mean, high, "mean of the heads", "lowest to highest head", "heads")


def many_shares_figure(atlas: Atlas) -> dict[str, Any] | None:
    """The same over many images: their mean (and over heads), band of one standard deviation between images to each side."""
    if not any(atlas.prompts):
        return None
    mean, spread = (100 * part.share.astype(np.float64) for part in (atlas.mean, atlas.spread))
    name = f"mean of {atlas.images:,} images"
    return _banded(mean - spread, mean, mean + spread, name, "± 1 standard deviation between images", "mostly")


def _banded(low: np.ndarray, mean: np.ndarray, high: np.ndarray, name: str, band: str, word: str) -> dict[str, Any]:
    layers = list(range(1, len(mean) + 1))
    said = [f"layer {n}: {m:.0f} % ({word} {a:.0f} % to {b:.0f} %)" for n, a, m, b in zip(layers, low, mean, high, strict=True)]
    fig = go.Figure()
    fig.add_scatter(x=layers, y=low.tolist(), mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
    fig.add_scatter(x=layers, y=high.tolist(), mode="lines", line={"width": 0}, fill="tonexty", fillcolor=faded(RIGHT, 0.2),
                    name=band, hoverinfo="skip")
    fig.add_scatter(x=layers, y=mean.tolist(), mode="lines+markers", line={"color": RIGHT, "width": 2}, name=name,
                    hovertext=said, hoverinfo="text")
    fig.update_xaxes(title="layer", dtick=1 if len(layers) <= 12 else 2)
    fig.update_yaxes(title="attention to the prompts", ticksuffix=" %", range=[0, min(100, float(max(high)) * 1.15 + 1)])
    return figure(fig)
