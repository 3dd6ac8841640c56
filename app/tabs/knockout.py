"""Knock-out: what becomes of the answers without a prompt, next to the attention that it got."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from app import knockouts
from app.components import plot, progress_bar
from app.estimate import in_words
from app.events import LATEST, QUIET, when
from app.figures import knockout_figure
from app.figures.knockout import EFFECTS, MEAN, name_of
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.tabs import knocked
from app.verdict import run_of
from vpt_core.analysis import SCOPES, Knockout, attention_and_effect
from vpt_core.errors import UserError
from vpt_core.runs import Run

COUNTS = (8, 16, 32, 64, 200)
ROWS = 12
_HEADERS = ["taken away", "attention it got", "change of log-probability", "change of images right", "answers changed",
            "change of the chosen image's logit"]
_INTRO = (
    "Take prompts away and see whether the answers change. Every knock-out is computed exactly: the prompt's key and value "
    "are dropped from its layer, or its token where prompts travel on. That takes time, so choose how many images to do it for."
)
_NOTE = (
    "Each point is one knock-out: to the right, more attention went to what was taken away; below the line, the true class "
    "lost by it, so the prompt had helped. The sentence holds attention against the size of the change, whichever way. One "
    "prompt may do little because others do the same: taking all of a layer can tell. p treats knock-outs as independent, "
    "which prompts that were tuned together are not. Log-probability and logit are those of the true class."
)
_EMPTY = "Press the button to fill this picture."
_OTHER = "The chosen image was not among those. Press “Knock out for this image too” below."
_stopped: set[str] = set()


def build(page: Page, run: gr.Radio, tab: gr.Tab) -> None:
    """Components and events of the part."""
    sentence(_INTRO)
    with gr.Row():
        scope = gr.Radio([(words, key) for key, words in SCOPES.items()], value=next(iter(SCOPES)), label="Take away",
                         elem_id="knockout-scope", min_width=300)
        count = gr.Radio(list(COUNTS), value=16, label="Test images", elem_id="knockout-count", min_width=260)
    guess = sentence(css="note", elem_id="knockout-guess")
    with gr.Row():
        go = gr.Button("Knock out", variant="primary", elem_classes=["primary-action"], elem_id="knockout-go")
        stop = gr.Button("Stop, keep what is done", elem_id="knockout-stop", interactive=False, scale=0,
                         min_width=240)
    status = progress_bar(empty="", elem_id="knockout-status")
    said = sentence(elem_id="knockout-said")
    effect = gr.Radio([(words, key) for key, words in EFFECTS.items()], value=MEAN, label="Effect on",
                      elem_id="knockout-effect")
    chart = plot(label="Attention against effect", height=400, empty=_EMPTY, elem_id="knockout-chart")
    sentence(_NOTE, css="note")
    found, token = gr.State(None), gr.State("")
    knocked.build(page, run, scope, found, chart)
    table = gr.Dataframe(headers=_HEADERS, datatype="str", interactive=False, wrap=True, visible=False, label="Largest effects",
                         elem_id="knockout-table", buttons=["copy"])

    asked = [page.result, run, scope, count]
    when([tab.select, run.change, scope.input, count.input], foretell, asked, [guess, go])
    when([run.change, scope.input], recall, [page.result, run, scope], [found, status, said])
    go.click(lambda: (secrets.token_hex(8), gr.Button(interactive=False), gr.Button(interactive=True)), None, [token, go, stop],
             **QUIET).then(
        knock, [*asked, page.image, token], [found, status, said], concurrency_limit=1, **QUIET).then(
        lambda: (gr.Button(interactive=True), gr.Button(interactive=False)), None, [go, stop], **QUIET)
    stop.click(_stopped.add, token, None, queue=False, **QUIET)
    gr.on([found.change, effect.input, page.image.change], show, [found, effect, page.image], [chart, table], **LATEST)


def _run_of(key: str | None, name: str | None) -> Run:
    run = run_of(key, name)
    if run is None:
        raise UserError("There is no result yet. Tune VPT in Tune.")
    return run


@shows_user_errors
def foretell(key: str | None, name: str | None, scope: str, count: int) -> tuple[str, gr.Button]:
    """How long it may take; for a run without prompts, why there is nothing to do."""
    try:
        run = _run_of(key, name)
        images = min(count, run.test.total)
        seconds = knockouts.seconds(run, scope, images)
    except UserError as error:
        return str(error), gr.Button(interactive=False)
    return f"{images} of the {run.test.total} test images, evenly over the classes: {in_words(seconds)} on this computer, " \
           "longer when it does other work.", gr.Button(interactive=True)


@shows_user_errors
def knock(key: str | None, name: str | None, scope: str, count: int, image: int, token: str) -> Iterator[list[Any]]:
    """The knock-outs, progress, and what they say of this run."""
    run = _run_of(key, name)
    work = knockouts.knocked_out(run, scope, min(count, run.test.total), image, lambda: token in _stopped)
    try:
        while True:
            done, total = next(work)
            text = f"{done:,} of {total:,} answers without prompts"
            yield [gr.skip(), {"text": text, "done": done, "total": total, "tone": ""}, gr.skip()]
    except StopIteration as end:
        found: Knockout = end.value
    except UserError as error:
        yield [None, _bar(str(error), "warn"), ""]
        return
    finally:
        _stopped.discard(token)
    images = len(found.images)
    text = f"Done for {images} images." if images == min(count, run.test.total) else f"Stopped; {images} images are done."
    yield [found, _bar(text), attention_and_effect(found).sentence]
    knockouts.keep(run, scope, found)


@shows_user_errors
def recall(key: str | None, name: str | None, scope: str) -> list[Any]:
    """What is known of a run from an earlier time, and what it says."""
    run = run_of(key, name)
    found = knockouts.known(run, scope) if run else None
    if found is None:
        return [None, None, ""]
    return [found, _bar(f"Done before, for {len(found.images)} images."), attention_and_effect(found).sentence]


def _bar(text: str, tone: str = "") -> dict[str, Any]:
    return {"text": text, "done": None, "total": 0, "tone": tone}


@shows_user_errors
def show(found: Knockout | None, effect: str, image: int) -> list[Any]:
    """Chart and table of what was found, for an effect and the chosen image."""
    if found is None:
        return [None, gr.Dataframe(visible=False)]
    value = knockout_figure(found, effect, image)
    if value is None:
        gr.Info(_OTHER)
        value = knockout_figure(found, MEAN, image)
    return [value, gr.Dataframe(value=rows(found, image), visible=True)]


def rows(found: Knockout, image: int) -> list[list[str]]:
    """The `ROWS` removals that move the true class most, as text."""
    mean, attention = found.log_probability.mean(axis=1), found.attention.mean(axis=1)
    among = np.flatnonzero(found.images == image)
    logit = np.full(len(mean), np.nan)
    if len(among):
        place, truth = int(among[0]), int(found.labels[among[0]])
        logit = found.without[:, place, truth] - found.whole[place, truth]
    order = np.argsort(-np.abs(found.log_probability).mean(axis=1), kind="stable")[:ROWS]
    return [[name_of(found.removals[v]), f"{100 * attention[v]:.2f} %", f"{mean[v]:+.3f}",
             f"{found.accuracy[v]:+d}" if found.accuracy[v] else "0", str(found.changed[v]),
             f"{logit[v]:+.2f}" if len(among) else "not among them"] for v in order]
