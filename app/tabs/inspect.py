"""Look inside: where a tuned model looks in one image, and how tuning moved all of them."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from app import inside, pictures
from app.events import LATEST, QUIET, when
from app.figures import shares_figure
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.results import Result, find_seed
from app.tabs import atlas, attribution, knockout, movement, near
from app.verdict import image_line, labels, number
from vpt_core.errors import UserError
from vpt_core.metrics import softmax
from vpt_core.standing import right

SHOWN = 60  # images of the strip
FILTERS = [("All", "all"), ("Wrong ones", "wrong"), ("Surest errors", "sure"), ("Methods disagree", "disagree")]
_EMPTY = "No result yet. Tune a method in Tune."


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the tab."""
    with gr.Row():
        run = gr.Radio([], label="Method", elem_id="inspect-run", min_width=260)
        which = gr.Radio(FILTERS, value="all", label="Test images", elem_id="inspect-filter", min_width=260)
    strip = gr.Gallery(label="Test images", show_label=False, columns=10, height=210, object_fit="cover", allow_preview=False,
                       interactive=False, buttons=[], fit_columns=False, elem_id="inspect-strip", elem_classes=["thumbs"])
    images = gr.State([])
    count = sentence(css="note", elem_id="inspect-count")
    line = sentence(_EMPTY, elem_id="inspect-line")
    missing = sentence(css="warn", visible=False, elem_id="inspect-missing")
    with gr.Tabs(elem_id="inspect-parts"):
        with gr.Tab("Attention", id="inspect-part-attention"):
            seen = atlas.build(page, run)
        with gr.Tab("Attribution", id="inspect-part-attribution"):
            attribution.build(page, run)
        with gr.Tab("Knock-out", id="inspect-part-knockout") as part:
            knockout.build(page, run, part)
        with gr.Tab("Near patches", id="inspect-part-near") as part:
            near.build(page, run, part)
        with gr.Tab("How images moved", id="inspect-part-movement") as part:
            maps = movement.build(page, run, part)

    thumbs = {"fn": show_strip, "inputs": [page.result, run, which, page.image], "outputs": [strip, images, count], **LATEST}
    picture = {"fn": show_image, "inputs": seen.drawing["inputs"], "outputs": [line, seen.viewer, seen.shares, missing],
               **LATEST}
    offered = when([tab.select, page.result.change], offer, [page.result, run, page.image], [run, page.image, maps.only])
    for event in (offered.success(**thumbs), run.input(**thumbs)):
        maps.draw_after(event.success(**picture).success(**seen.drawing, **LATEST))
    which.input(**thumbs)
    strip.select(choose, images, page.image, **QUIET)
    page.image.change(follow, [*thumbs["inputs"], images], thumbs["outputs"], **LATEST)
    gr.on([page.image.change, seen.over.input], **picture).success(**seen.drawing, **LATEST)


@shows_user_errors
def offer(key: str | None, name: str | None, image: int) -> tuple[gr.Radio, int, gr.Dropdown]:
    """The runs of the result, the last one chosen unless `name` is one of them; an image that exists; the classes."""
    result = find_seed(key)
    if result is None:
        return gr.Radio([], value=None), 0, gr.Dropdown(movement.class_choices([]), value=movement.ALL)
    names = [run.name for run in result.runs]
    choices = list(zip(labels(result), names, strict=True))
    shown = image if image < result.runs[0].test.total else 0
    return (gr.Radio(choices, value=name if name in names else names[-1]), shown,
            gr.Dropdown(movement.class_choices(result.runs[0].classes), value=movement.ALL))


@shows_user_errors
def show_strip(key: str | None, name: str | None, which: str, image: int) -> list[Any]:
    """The strip, its images, and which of how many they are: of many, the `SHOWN` among which the chosen image is."""
    result = find_seed(key)
    if result is None or name is None:
        return [gr.Gallery([], selected_index=None), [], ""]
    images = strip_images(result, number(result, name), which)
    first = (_place(images, image) or 0) // SHOWN * SHOWN
    some = images[first : first + SHOWN]
    try:
        thumbs = pictures.gallery(result, some, lambda i: str(i + 1))
    except UserError:  # `show_image` says why
        return [gr.Gallery([], selected_index=None), [], ""]
    return [gr.Gallery(thumbs, selected_index=_place(some, image)), some, _count(which, first, len(some), len(images))]


def _count(which: str, first: int, shown: int, total: int) -> str:
    if not total:
        none_wrong = "This method gets every test image right."
        return {"all": "There are no test images.", "wrong": none_wrong, "sure": none_wrong,
                "disagree": "All methods get the same images right."}[which]
    what = {"all": "test images", "wrong": "images that this method gets wrong",
            "sure": "images that this method gets wrong, the surest first",
            "disagree": "images on which methods disagree"}[which]
    return f"{what.capitalize()} {first + 1} to {first + shown} of {total}." if shown < total else f"{total} {what}."


def strip_images(result: Result, index: int, which: str) -> list[int]:
    """Test images of a filter: all, those the run `index` gets wrong ("wrong"; "sure" by falling confidence), those that some
    runs get right and others wrong.
    """
    rights = np.stack([right(run) for run in result.runs])
    if which == "sure":
        wrong = np.flatnonzero(~rights[index])
        confidence = softmax(result.runs[index].array("logits")[wrong]).max(axis=1, initial=0)
        return wrong[np.argsort(-confidence, kind="stable")].tolist()
    keep = {"all": np.ones_like(rights[0]), "wrong": ~rights[index], "disagree": rights.any(axis=0) & ~rights.all(axis=0)}
    return np.flatnonzero(keep[which]).tolist()


def _place(images: list[int], image: int) -> int | None:
    return images.index(image) if image in images else None


@shows_user_errors
def choose(images: list[int], event: gr.SelectData) -> int:
    """The clicked image of the strip becomes the chosen one."""
    return images[event.index]


def follow(key: str | None, name: str | None, which: str, image: int, images: list[int]) -> list[Any]:
    """The chosen image is marked in the strip, wherever it was chosen."""
    if image in images:
        return [gr.Gallery(selected_index=images.index(image)), gr.skip(), gr.skip()]
    return show_strip(key, name, which, image)


@shows_user_errors
def show_image(key: str | None, name: str | None, image: int, over: str = atlas.IMAGE) -> list[Any]:
    """What the runs say of the chosen image and where the chosen run looks; over many images `atlas.draw` shows that."""
    result = find_seed(key)
    if result is None or name is None:
        return [_EMPTY, None, None, gr.HTML(visible=False)]
    if image >= result.runs[0].test.total:
        return ["There are no test images.", None, None, gr.HTML(visible=False)]
    run, said = result.runs[number(result, name)], image_line(result, image)
    try:
        viewer, seen = inside.attention_view(result, run, image), inside.attention(run, image)
    except UserError as error:
        return [said, None, None, gr.HTML(f"Where the model looks cannot be shown. {error}", visible=True)]
    shown = [viewer, shares_figure(seen.to_prompts)] if over == atlas.IMAGE else [gr.skip(), gr.skip()]
    return [said, *shown, gr.HTML(visible=False)]
