"""After a run on a task that is a trap: what is left of each method's accuracy when the stamps change."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from app.components import plot
from app.figures import trap_figure
from app.messages import sentence, shows_user_errors
from app.models import classifier
from app.page import Page
from app.results import find_seed
from app.verdict import labels
from vpt_core.errors import UserError
from vpt_core.runs import Run
from vpt_core.traps import Sprung, is_trap, spring

_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_NOTE = (
    "This task is a trap: a square in the corner of every picture, of those to test on too, has the colour of its class. Look "
    "how many test images stay right when each picture gets another class's square, or none. The accuracy above is no lie: it "
    "is what images of the same source give. It cannot tell by what they are told apart, and a swap like this one needs "
    "someone who suspects it."
)


def build(page: Page, refreshed: gr.events.Dependency) -> None:
    """Components of the part, which appears only for a trap, and its event after `refreshed`."""
    with gr.Column(visible=False) as part:
        gr.Markdown("### The trap, sprung")
        said = sentence(elem_id="compare-trap-said")
        chart = plot(label="Accuracy with other stamps", height=260, elem_id="compare-trap")
        sentence(_NOTE, css="note")
    refreshed.success(show, page.result, [part, said, chart], **_PRIVATE)


@shows_user_errors
def show(key: str | None) -> list[Any]:
    """The part with a sentence on each run and the chart; hidden where the task is no trap."""
    result = find_seed(key)
    if result is None or not is_trap(result.runs[0]):
        return [gr.Column(visible=False), "", None]
    try:
        found = dict(zip(labels(result), (_sprung(run.folder) for run in result.runs), strict=True))
    except UserError as error:
        return [gr.Column(visible=True), f"The trap cannot be sprung. {error}", None]
    return [gr.Column(visible=True), " ".join(f"{name}: {one.sentence}" for name, one in found.items()), trap_figure(found)]


@lru_cache(maxsize=64)
def _sprung(folder: Path) -> Sprung:
    run = Run(folder)
    return spring(run, classifier(run))
