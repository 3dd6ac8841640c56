"""What many tasks cost: storage by method and number of tasks, at the end of Compare."""

from __future__ import annotations

from typing import Any

import gradio as gr

from app.components import plot
from app.events import when
from app.figures import ledger_figure
from app.figures.ledger import COUNTS
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.results import find
from app.verdict import labels, size
from vpt_core.errors import UserError
from vpt_core.ledger import FLOAT32, FULL, SHAPES, Cost, Shape, entry, learned, stored

CLASSES, PROMPTS = 100, 50
OWN = "this result"
_EMPTY = "No result yet. Tune a method in Tune, or choose a backbone above."
_METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "Full fine-tuning": (FULL, {}),
    "Partial-1": ("partial", {"blocks": 1}),
    "MLP-3": ("mlp", {"hidden_layers": 2}),
    "Sidetune (ours)": ("sidetune", {}),
    "Adapter, reduction 8": ("adapter", {"reduction": 8}),
    "LoRA, rank 8": ("lora", {"rank": 8}),
    "Bias": ("bias", {}),
    "VPT-deep": ("vpt-deep", {"prompts": PROMPTS}),
    "VPT-shallow": ("vpt-shallow", {"prompts": PROMPTS}),
    "Linear probe": ("linear", {}),
}
_NOTE = (
    "Look at how far the dots of a row lie apart: that is the price of more tasks. With one task every method keeps about "
    "one backbone. Do not conclude that the smallest is the best: the picture knows nothing of accuracy, nor of time, and "
    "for a handful of tasks the difference may not matter."
)
_BY_FORMULA = f"Counted by formula: {CLASSES} classes a task, {PROMPTS} prompts a layer, images of 224 pixels, float32."


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the section."""
    gr.Markdown("### What many tasks cost")
    names = [shape.title for shape in SHAPES]
    backbone = gr.Radio([*names, OWN], value=names[0], label="Backbone", elem_id="compare-ledger-backbone")
    said = sentence(elem_id="compare-ledger-said")
    chart = plot(label="What many tasks cost", empty=_EMPTY, height=200, elem_id="compare-ledger")
    sentence(_NOTE, css="note")
    when([tab.select, page.result.change, backbone.input], show, [page.result, backbone], [said, chart])


@shows_user_errors
def show(key: str | None, backbone: str) -> list[Any]:
    """A sentence on what was counted, and the chart."""
    if backbone != OWN:
        shape = _shape(backbone)
        costs = {name: _cost(shape, *method) for name, method in _METHODS.items()}
        return _shown(costs, FLOAT32 * shape.numbers.total, _BY_FORMULA)
    result = find(key)
    if result is None:
        return ["", None]
    costs = dict(zip(labels(result), (run.cost for run in result.runs), strict=True))
    run = result.runs[0]
    counted = (f"Counted from the files of this result, as if every task were like it ({len(run.classes)} classes); the "
               f"backbone has {size(run.backbone_bytes)} in numbers of 4 bytes.")
    return _shown(costs, run.backbone_bytes, counted)


def _shown(costs: dict[str, Cost], backbone_bytes: int, counted: str) -> list[Any]:
    return [f"{_extremes(costs, backbone_bytes)} {counted}", ledger_figure(costs, backbone_bytes)]


def _shape(title: str) -> Shape:
    for shape in SHAPES:
        if shape.title == title:
            return shape
    raise UserError(f"There is no backbone {title!r} to count for. Choose one of the list.")


def _cost(shape: Shape, method: str, options: dict[str, Any]) -> Cost:
    wanted = method, options, shape, CLASSES
    return Cost(learned(*wanted), FLOAT32 * stored(*wanted), whole=method == FULL)


def _extremes(costs: dict[str, Cost], backbone_bytes: int) -> str:
    """What is kept for the most tasks with the dearest and with the cheapest method."""
    count = COUNTS[-1]
    ends = sorted((entry(name, [cost] * count, backbone_bytes) for name, cost in costs.items()), key=lambda e: -e.kept)
    told = [f"{e.name} keeps {size(e.kept)} ({e.multiple:,.1f} times one backbone)" for e in (ends[0], ends[-1])]
    return f"For {count} tasks {', '.join(dict.fromkeys(told))}."
