"""Through the epochs: the same images in the frozen model, after each kept epoch and in the tuned model."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from app import journeys
from app.components import plot, progress_bar
from app.estimate import in_words
from app.events import LATEST, QUIET, when
from app.figures.maps import CLASS, COLOURINGS, SPLIT, steps_figure
from app.journeys import LAST
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.verdict import run_of
from vpt_core.analysis import LAYOUTS
from vpt_core.errors import UserError
from vpt_core.runs import Run

_INTRO = (
    "How did the images get there? Test and training images are put through the model as it was after each epoch that the run "
    "kept, and drawn on one map whose points move from step to step."
)
_EMPTY = "Press the button to fill this picture."
_NOTE = (
    "Drag the slider or press Play. Colour and crosses are those of the tuned model in every step, so that each point stays "
    "itself. Look which classes part early, and whether training images part sooner than test images: what only they do is "
    "learned by heart. The way of a point on a flat map is no measure of how far its features moved."
)
_stopped: set[str] = set()


def build(page: Page, run: gr.Radio, part: gr.Tab, method: gr.Radio, only: gr.Dropdown, layer: gr.Dropdown) -> None:
    """Components and events of the section; `method` draws its map of `layer`, `only` is the class to show."""
    gr.Markdown("### Through the epochs")
    sentence(_INTRO)
    guess = sentence(css="note", elem_id="journey-guess")
    with gr.Row():
        go = gr.Button("Follow through the epochs", variant="primary", elem_classes=["primary-action"], elem_id="journey-go")
        stop = gr.Button("Stop", elem_id="journey-stop", interactive=False, scale=0, min_width=160)
    status = progress_bar(empty="", elem_id="journey-status")
    colours = {**COLOURINGS, SPLIT: "training or test"}
    by = gr.Radio([(words, name) for name, words in colours.items()], value=CLASS, label="Colour", elem_id="journey-colour")
    chart = plot(label="Map through the epochs", height=520, empty=_EMPTY, elem_id="journey-chart")
    drawn = sentence(css="note", elem_id="journey-drawn")
    sentence(_NOTE, css="note")
    token = gr.State("")

    asked = [page.result, run, layer]
    showing: dict[str, Any] = {"fn": show, "inputs": [*asked, method, by, only, page.image], "outputs": [chart, drawn]}
    when([part.select, run.change, layer.change], foretell, asked, [guess, go]).success(**showing, **LATEST)
    when([run.change, layer.change], lambda: None, None, status)
    when([method.input, by.input, only.change, page.image.change], **showing)
    go.click(lambda: (secrets.token_hex(8), gr.Button(interactive=False), gr.Button(interactive=True)), None, [token, go, stop],
             **QUIET).then(
        follow, [*asked, token], status, concurrency_limit=1, **QUIET).then(
        lambda: gr.Button(interactive=False), None, stop, **QUIET).then(
        foretell, asked, [guess, go], **QUIET).then(**showing, **LATEST)
    stop.click(_stopped.add, token, None, queue=False, **QUIET)
    chart.select(choose, None, page.image, **QUIET)


@shows_user_errors
def foretell(key: str | None, name: str | None, layer: int = LAST) -> tuple[str, gr.Button]:
    """How long it may take; for a run that kept no epochs, why there is nothing to do."""
    run = run_of(key, name)
    if run is None:
        return "", gr.Button(interactive=False)
    if journeys.why_not(run):
        return journeys.why_not(run), gr.Button(interactive=False)
    said = f"{journeys.image_count(run)} images through {len(journeys.chosen_epochs(run))} of {len(run.epochs)} kept epochs: "
    if journeys.known(run, layer):
        return f"{said}done.", gr.Button(interactive=False)
    said += f"{in_words(journeys.seconds(run, layer))} on this computer, longer when it does other work."
    return said, gr.Button(interactive=True)


@shows_user_errors
def follow(key: str | None, name: str | None, layer: int, token: str) -> Iterator[dict[str, Any]]:
    """Progress of following the images of the chosen run."""
    run = run_of(key, name)
    if run is None:
        raise UserError("There is no result yet. Tune VPT in Tune.")
    work = journeys.walk(run, lambda: token in _stopped, layer)
    try:
        while True:
            done, total = next(work)
            yield {"text": f"{done:,} of {total:,} images through a model", "done": done, "total": total, "tone": ""}
    except StopIteration as end:
        text = f"Done: {len(end.value.images)} images." if end.value else "Stopped; nothing was kept."
    except UserError as error:
        yield {"text": str(error), "done": None, "total": 0, "tone": "warn"}
        return
    finally:
        _stopped.discard(token)
    yield {"text": text, "done": None, "total": 0, "tone": ""}


@shows_user_errors
def show(key: str | None, name: str | None, layer: int, method: str, by: str, only: int, image: int) -> Iterator[list[Any]]:
    """The chart of a run that was followed, by PCA until another map is drawn, and how it was drawn."""
    run = run_of(key, name)
    found = journeys.known(run, layer) if run else None
    if run is None or found is None:
        yield [None, ""]
        return
    if method != "pca" and not journeys.known_places(run, method, layer):
        wait = f"A first map by PCA; {LAYOUTS[method].title} is being drawn ..."
        yield [_value(run, found, layer, "pca", by, only, image), wait]
    yield [_value(run, found, layer, method, by, only, image), f"Drawn by {LAYOUTS[method].title}, all steps in one frame."]


def _value(run: Run, found: journeys.Journey, layer: int, method: str, by: str, only: int, image: int) -> dict[str, Any]:
    at = np.flatnonzero(found.place == image)
    try:
        thumbs = journeys.thumbs(run.folder)
    except UserError:  # the tab says that the data set is gone; the map shows without pictures
        thumbs = None
    look = {"by": by, "only": only if only >= 0 else None, "chosen": int(at[0]) if len(at) else None}
    names = found.steps(run.status["best_epoch"])
    return steps_figure(journeys.points(run.classes, found), journeys.places(run, method, layer), names, thumbs, **look)


@shows_user_errors
def choose(event: gr.EventData) -> Any:
    """The clicked test image becomes the chosen one; training images cannot be chosen."""
    clicked = event._data["customdata"]
    if not clicked or clicked[1] == journeys.NONE:
        return gr.skip()
    return int(clicked[1])
