"""The chart of knock-outs: attention that prompts get against what becomes of the answers without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure
from app.figures.colours import RIGHT, WRONG
from vpt_core.analysis import Knockout, Removal

MEAN, ACCURACY, IMAGE = "mean", "accuracy", "image"
EFFECTS = {MEAN: "true class, mean of images", ACCURACY: "right answers", IMAGE: "true class, chosen image"}


def name_of(removal: Removal) -> str:
    """ "layer 3, prompt 7"; "all prompts of layer 3"; "prompt 7 of all layers"."""
    if not removal.layer:
        return f"prompt {removal.prompt} of all layers"
    return f"layer {removal.layer}, prompt {removal.prompt}" if removal.prompt else f"all prompts of layer {removal.layer}"


def knockout_figure(found: Knockout, effect: str, image: int) -> dict[str, Any] | None:
    """A point for each removal: attention against the `effect`, a key of `EFFECTS`. None when the image was not among them."""
    if effect == IMAGE and image not in found.images:
        return None
    if effect == IMAGE:
        place = int(np.flatnonzero(found.images == image)[0])
        attention, values = found.attention[:, place], found.log_probability[:, place]
    else:
        attention = found.attention.mean(axis=1)
        values = found.accuracy if effect == ACCURACY else found.log_probability.mean(axis=1)
    layers = [one.layer for one in found.removals]
    said = [f"{name_of(one)}<br>attention {100 * a:.2f} %<br>change {v:+.3g}"
            for one, a, v in zip(found.removals, attention, values, strict=True)]
    marker: dict[str, Any] = {"size": 9, "opacity": 0.85, "line": {"width": 0}, "color": RIGHT}
    if any(layers):
        marker |= {"color": layers, "colorscale": [[0, "#d97706"], [0.5, RIGHT], [1, "#6366f1"]],
                   "colorbar": {"title": {"text": "layer"}, "thickness": 12, "outlinewidth": 0}}
    fig = go.Figure()
    fig.add_scatter(x=(100 * attention).round(4).tolist(), y=values.round(6).tolist(), mode="markers", name="knock-outs",
                    marker=marker, customdata=list(range(len(said))), hovertext=said, hoverinfo="text", showlegend=False)
    fig.add_hline(y=0, line={"color": WRONG, "width": 1, "dash": "dot"})
    unit = "images right, change" if effect == ACCURACY else "log-probability of the true class, change"
    fig.update_xaxes(title="attention to what is removed", ticksuffix=" %", rangemode="tozero")
    fig.update_yaxes(title=unit)
    fig.update_layout(uirevision=f"{effect} {len(layers)} {len(found.images)}")
    return figure(fig)
