"""The chart of one image's logits with and without some prompts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from app.components import figure, plain
from app.figures.colours import NEUTRAL, RIGHT

MOST = 12  # classes that are drawn: those with the highest logits


def answer_figure(classes: Sequence[str], whole: np.ndarray, without: np.ndarray) -> dict[str, Any]:
    """Two bars a class: logits (C,) with all prompts and without the removed ones. Of many classes the highest are shown."""
    shown = np.sort(np.argsort(-np.maximum(whole, without), kind="stable")[:MOST])
    names = [plain(classes[k], 24) for k in shown]
    fig = go.Figure()
    for name, values, ink in (("with all prompts", whole, NEUTRAL), ("without", without, RIGHT)):
        fig.add_bar(x=names, y=values[shown].round(4).tolist(), name=name, marker={"color": ink})
    fig.update_xaxes(type="category")
    fig.update_yaxes(title="logit")
    fig.update_layout(barmode="group")
    return figure(fig)
