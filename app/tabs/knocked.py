"""What becomes of the chosen image's logits in one knock-out: the one that is clicked, or the one that changes most."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from app import knockouts
from app.components import plot
from app.events import LATEST, QUIET, when
from app.figures import answer_figure
from app.figures.knockout import name_of
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.verdict import run_of
from vpt_core.analysis import Knockout

_NOTE = (
    "Click a point above, and see what that knock-out does to all logits of the chosen image; until then it is the one that "
    "moves its true class most. Look whether another class rises where the true one falls. A single image is an example."
)
_EMPTY = "What a knock-out does to the chosen image's logits appears here."
LARGEST = -1


def build(page: Page, run: gr.Radio, scope: gr.Radio, found: gr.State, chart: gr.HTML) -> None:
    """Components and events; `chart` is the one whose points are clicked."""
    gr.Markdown("### The chosen image's logits")
    add = gr.Button("Knock out for this image too", visible=False, elem_id="knockout-add", scale=0, min_width=280)
    said = sentence(elem_id="knockout-answer-said")
    answer = plot(label="Logits of the chosen image", height=300, empty=_EMPTY, elem_id="knockout-answer")
    sentence(_NOTE, css="note")
    picked = gr.State(LARGEST)

    chart.select(pick, None, picked, **QUIET)
    when([found.change], lambda: LARGEST, None, picked).success(
        show, [page.result, run, found, page.image, picked], [add, said, answer], **LATEST)
    when([picked.change, page.image.change], show, [page.result, run, found, page.image, picked], [add, said, answer])
    add.click(lambda: gr.Button(interactive=False), None, add, **QUIET).then(
        include, [page.result, run, scope, found, page.image], found, concurrency_limit=1, **QUIET)


@shows_user_errors
def pick(event: gr.EventData) -> Any:
    """The clicked knock-out."""
    clicked = event._data["customdata"]
    return gr.skip() if clicked is None else int(clicked)


@shows_user_errors
def include(key: str | None, name: str | None, scope: str, found: Knockout | None, image: int) -> Any:
    """The same knock-outs with the chosen image among them."""
    run = run_of(key, name)
    return gr.skip() if run is None or found is None else knockouts.with_image(run, scope, found, image)


@shows_user_errors
def show(key: str | None, name: str | None, found: Knockout | None, image: int, picked: int) -> list[Any]:
    """Whether the image has still to be included, a sentence and the chart."""
    run = run_of(key, name)
    if run is None or found is None:
        return [gr.Button(visible=False), "", None]
    at = np.flatnonzero(found.images == image)
    if not len(at):
        missing = f"Image {image + 1} was not among the {len(found.images)} images of these knock-outs."
        return [gr.Button(visible=True, interactive=True), missing, None]
    place = int(at[0])
    v = picked if 0 <= picked < len(found.removals) else int(np.abs(found.log_probability[:, place]).argmax())
    whole, without, truth = found.whole[place], found.without[v, place], int(found.labels[place])
    return [gr.Button(visible=False), _words(run.classes, name_of(found.removals[v]), image, whole, without, truth),
            answer_figure(run.classes, whole, without)]


def _words(classes: list[str], what: str, image: int, whole: np.ndarray, without: np.ndarray, truth: int) -> str:
    old, new = classes[whole.argmax()], classes[without.argmax()]
    answer = f"the answer stays “{old}”" if old == new else f"the answer turns from “{old}” to “{new}”"
    return (f"Without {what} the logit of image {image + 1}'s true class, “{classes[truth]}”, goes from {whole[truth]:.2f} to "
            f"{without[truth]:.2f}; {answer}.")
