"""What an answer rests on: attribution of the chosen image before and after tuning, and a test of the map."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from app import explained
from app.components import plot
from app.events import LATEST, QUIET, when
from app.explained import PREDICTED, TRUE, Wish
from app.figures import deletion_figure, prompts_figure
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.pictures import as_file
from app.results import find_seed
from app.verdict import number
from vpt_core.analysis import ATTRIBUTIONS, BASELINES, Attribution, PromptAttribution, overlay
from vpt_core.errors import UserError

PIXELS, PATCHES = "pixels", "patches"
_FIRST = "Press the button; it takes some seconds, and from then on this part follows the chosen image."
_WAIT = "The map is being tested against random orders ..."
_NOTE = (
    "Drag the line: left of it is before tuning, right of it after; below stand both. Teal parts speak for the class, red ones "
    "against it; each side has its own scale. Look whether the colour lies on what the class is about. A map shows what this "
    "score depends on in this one image, against this baseline; it does not show a reason as a person has one, and another "
    "baseline draws another map."
)
_TEST_NOTE = (
    "The test of the map after tuning: patches are taken out of the image (red) or shown on the empty baseline (teal), those "
    "that the map calls most important first. A good map falls faster, and rises faster, than the faint random orders. The "
    "half empty pictures are unlike any that the model was trained on, so a single such test is a hint and no proof."
)
_PROMPTS_NOTE = (
    "What each prompt adds to the score of the class in this image, from zero prompts to the learned ones. Look for layers and "
    "prompts that stand out. A zero prompt still takes attention, so this is not what removing it would do."
)


def build(page: Page, run: gr.Radio) -> None:
    """Components and events of the part, for the run chosen in `run`."""
    gr.Markdown("### What the answer rests on")
    asked = _choices()
    with gr.Row():
        start = gr.Button("Explain this image", variant="primary", elem_id="inspect-explain", min_width=200, scale=0)
        data = gr.DownloadButton("Both maps as JSON", interactive=False, min_width=200, scale=0,
                                 elem_id="inspect-attribution-data")
    on = gr.State(False)
    line = sentence(_FIRST, elem_id="inspect-attribution-line")
    with gr.Row(visible=False) as filled:
        with gr.Column(min_width=320):
            slider = gr.ImageSlider(label="Before | after", interactive=False, buttons=["download", "fullscreen"], format="png",
                                    max_height=420, elem_id="inspect-attribution")
            pair = gr.Gallery(label="Before and after", show_label=False, columns=2, height="auto", object_fit="contain",
                              interactive=False, buttons=["download", "fullscreen"], elem_id="inspect-attribution-pair",
                              elem_classes=["pair"])
            sums = sentence(css="note", elem_id="inspect-attribution-sums")
            sentence(_NOTE, css="note")
        with gr.Column(min_width=320):
            curves = plot(label="Deletion and insertion", height=420, elem_id="inspect-deletion",
                          empty="How the map fares against random orders appears here.")
            doubt = sentence(elem_id="inspect-deletion-said")
            sentence(_TEST_NOTE, css="note")
    with gr.Column(visible=False) as prompted:
        prompts = plot(label="What each prompt adds", height=320, elem_id="inspect-prompt-attribution")
        prompts_said = sentence(css="note", elem_id="inspect-prompt-attribution-said")
        sentence(_PROMPTS_NOTE, css="note")

    shown = [line, slider, pair, sums, curves, doubt, prompted, prompts, prompts_said, filled, data]
    inputs = [page.result, run, page.image, on, *asked]
    explaining: dict[str, Any] = {"fn": explain, "inputs": inputs, "outputs": shown, **LATEST}
    method, target, baseline, grain = asked
    start.click(lambda: True, None, on, **QUIET).success(**explaining | {"show_progress": "minimal"})
    gr.on([page.image.change, method.input, target.input, baseline.input, grain.input], **explaining)
    when([run.change], offer, [page.result, run, target], target).success(**explaining)


def _choices() -> list[gr.components.Component]:
    with gr.Row():
        method = gr.Dropdown([(row.title, name) for name, row in ATTRIBUTIONS.items()], value=next(iter(ATTRIBUTIONS)),
                             label="Method", min_width=220, elem_id="inspect-attribution-method")
        target = gr.Dropdown(class_choices([]), value=TRUE, label="For which class", min_width=220,
                             elem_id="inspect-attribution-class")
        baseline = gr.Dropdown([(row.title, name) for name, row in BASELINES.items()], value=next(iter(BASELINES)),
                               label="What counts as nothing", min_width=220, elem_id="inspect-attribution-baseline")
        grain = gr.Radio([("patches", PATCHES), ("pixels", PIXELS)], value=PATCHES, label="Map of", min_width=220,
                         elem_id="inspect-attribution-grain")
    return [method, target, baseline, grain]


def class_choices(classes: list[str]) -> list[tuple[str, str]]:
    """Choices of the class to explain; a class is named by its number."""
    return [("the true class", TRUE), ("the predicted class", PREDICTED), *((name, str(k)) for k, name in enumerate(classes))]


@shows_user_errors
def offer(key: str | None, name: str | None, target: str) -> gr.Dropdown:
    """The classes of the run; the choice stays where it can."""
    result = find_seed(key)
    choices = class_choices(result.runs[0].classes if result and name else [])
    return gr.Dropdown(choices, value=target if target in {value for _, value in choices} else TRUE)


@shows_user_errors
def explain(
    key: str | None, name: str | None, image: int, on: bool, method: str, target: str, baseline: str, grain: str
) -> Iterator[list[Any]]:
    """Both maps, then the test of the second, then what the prompts add; what was found before all at once.

    The pictures come once: another one would replace them while the browser fetches it. And when answers come quickly after
    each other the browser keeps of a component the last one only, so nothing that is known may be left out of a later one.
    """
    result = find_seed(key)
    if not on or result is None or name is None or image >= result.runs[0].test.total:
        yield _nothing(_FIRST)
        return
    wish = Wish(result, result.runs[number(result, name)], image, target, method, baseline)
    try:
        known = explained.is_known(wish)
        if not known:  # what stands there is of another choice
            yield [f"Explaining image {image + 1}; what stands below is still of the choice before ...", *[gr.skip()] * 10]
        line, pictures, sums = explained.line(wish), slides(wish, grain), explained.sums(wish)
    except UserError as error:
        yield _nothing(f"Attribution cannot be shown. {error}")
        return
    if not known:
        yield [line, *pictures, sums, None, _WAIT, *_prompts(None), gr.Row(visible=True), gr.DownloadButton(interactive=False)]
    tested = explained.tested(wish)
    shown = [deletion_figure(tested), tested.sentence]
    data = gr.DownloadButton(value=str(explained.file(wish)), interactive=True)
    if not known:
        yield [line, *[gr.skip()] * 2, sums, *shown, *_prompts(None), gr.Row(visible=True), data]
    found = explained.prompts(wish)
    explained.note(wish)
    yield [line, *(pictures if known else [gr.skip()] * 2), sums, *shown, *_prompts(found), gr.Row(visible=True), data]


def _prompts(found: PromptAttribution | None) -> list[Any]:
    """The column of what the prompts add, its chart and sentence; hidden where there is nothing."""
    if found is None:
        return [gr.Column(visible=False), None, ""]
    said = (f"Together they take the score from {found.zero:.2f} to {found.score:.2f}; the parts miss that by "
            f"{found.error:.2g} (completeness error).")
    return [gr.Column(visible=True), prompts_figure(found), said]


def slides(wish: Wish, grain: str) -> tuple[tuple[str, str], list[tuple[str, str]]]:
    """Files of the pictures before and after: for the slider, and side by side with what they are."""
    maps = (_values(found, grain) for found in (explained.before(wish), explained.after(wish)))
    old, new = (as_file(overlay(wish.pixels, values), "png") for values in maps)
    return (old, new), [(old, "before tuning"), (new, "after tuning")]


def _values(found: Attribution, grain: str) -> np.ndarray:
    return found.map if grain == PIXELS else found.patches


def _nothing(text: str) -> list[Any]:
    return [text, None, [], "", None, "", *_prompts(None), gr.Row(visible=False), gr.DownloadButton(interactive=False)]
