"""After a run on a task that is a trap: what is left of each method's accuracy when the stamps change."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import gradio as gr

from app.components import plot
from app.events import LATEST, QUIET
from app.figures import trap_figure
from app.messages import sentence, shows_user_errors
from app.models import classifier
from app.page import Page
from app.results import find_seed
from app.verdict import labels
from vpt_core.runs import Run
from vpt_core.traps import Sprung, is_trap, spring

_lock = threading.Lock()
_NOTE = (
    "This task is a trap: a square in the corner of every picture, of those to test on too, has the colour of its class. See "
    "how many test images stay right when each picture gets another class's square, or none. The accuracy above is no lie: it "
    "is what images of the same source give. It cannot tell by what they are told apart, and a swap like this one needs "
    "someone who suspects it."
)


def build(page: Page, refreshed: gr.events.Dependency) -> None:
    """Components of the part, which appears only for a trap, after the event `refreshed`; a button springs it."""
    with gr.Column(visible=False) as part:
        gr.Markdown("### The trap")
        sentence(_NOTE, css="note")
        button = gr.Button("Change the stamps of the test images", elem_id="compare-trap-spring")
        said = sentence(elem_id="compare-trap-said")
        chart = plot(label="Accuracy with other stamps", height=260, elem_id="compare-trap", empty="What is left appears here.")
    refreshed.success(offer, page.result, [part, said, chart], **LATEST)
    button.click(show, page.result, [said, chart], **QUIET)


def offer(key: str | None) -> list[Any]:
    """The part, not sprung yet; hidden where the task is no trap."""
    result = find_seed(key)
    return [gr.Column(visible=bool(result and is_trap(result.runs[0]))), "", None]


@shows_user_errors
def show(key: str | None) -> Iterator[list[Any]]:
    """A sentence on each run and the chart, run after run: each takes as long as testing it did."""
    result = find_seed(key)
    found: dict[str, Sprung] = {}
    for name, run in zip(labels(result), result.runs, strict=True) if result else ():
        yield [f"{_said(found)} Testing {name} on the same images with other stamps ...", trap_figure(found) if found else None]
        with _lock:  # of two visitors with the same wish the second one finds it done
            found[name] = _sprung(run.folder)
    yield [_said(found), trap_figure(found) if found else None]


def _said(found: dict[str, Sprung]) -> str:
    return " ".join(f"{name}: {one.sentence}" for name, one in found.items())


@lru_cache(maxsize=64)
def _sprung(folder: Path) -> Sprung:
    run = Run(folder)
    return spring(run, classifier(run))
