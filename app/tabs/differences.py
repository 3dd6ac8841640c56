"""The test images behind the numbers of Compare: those in a cell of a confusion matrix, those on which two runs differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from app import pictures
from app.events import LATEST, QUIET
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.results import Result, find_seed
from app.verdict import SECOND, best_two, labels, number, predicted
from vpt_core.errors import UserError
from vpt_core.runs import Run
from vpt_core.standing import right

SHOWN = 24  # images of a gallery
_CLICK_A_CELL = "Click a cell of a matrix to see its images here."


@dataclass(frozen=True)
class _Gallery:
    """A heading, the pictures under it, and which test images they are."""

    heading: gr.HTML
    gallery: gr.Gallery
    images: gr.State

    def all(self) -> list[gr.components.Component]:
        return [self.heading, self.gallery, self.images]


def build_cell(page: Page, matrices: Sequence[gr.HTML]) -> list[gr.components.Component]:
    """The gallery of the clicked cell; gives the first outputs of `offer`."""
    cell = _gallery("compare-cell", 8, 180, _CLICK_A_CELL)
    button = _look_button(page, "compare-cell-look", [cell])
    for slot, matrix in enumerate(matrices):
        matrix.select(_opener(slot, len(matrices)), page.result, cell.all(), **QUIET)
    return [*cell.all(), button]


def build_pair(page: Page) -> list[gr.components.Component]:
    """Two runs to choose and the galleries of images that only one of them got right; gives the other outputs of `offer`."""
    gr.Markdown("### Where two methods disagree")
    with gr.Row():
        first = gr.Dropdown([], label="First method", elem_id="compare-first", min_width=200)
        second = gr.Dropdown([], label="Second method", elem_id="compare-second", min_width=200)
    with gr.Row():
        with gr.Column(min_width=320):
            only_second = _gallery("compare-only-second", 4, 320)
        with gr.Column(min_width=320):
            only_first = _gallery("compare-only-first", 4, 320)
    button = _look_button(page, "compare-pair-look", [only_second, only_first])
    sentence("Click an image to choose it. A method wins some images and loses others: look at both sides before you explain "
             "either.", css="note")
    shown = [*only_second.all(), *only_first.all()]
    gr.on([first.input, second.input], disagreements, [page.result, first, second], shown, **LATEST)
    return [first, second, *shown, button]


def _gallery(elem_id: str, columns: int, height: int, text: str = "") -> _Gallery:
    heading = sentence(text, elem_id=f"{elem_id}-heading")
    gallery = gr.Gallery(show_label=False, columns=columns, height=height, object_fit="cover", visible=False, interactive=False,
                         allow_preview=False, buttons=[], fit_columns=False, elem_id=elem_id)
    return _Gallery(heading, gallery, gr.State([]))


def _look_button(page: Page, elem_id: str, galleries: Sequence[_Gallery]) -> gr.Button:
    """The way to Look inside, which appears once an image of one of the galleries is chosen."""
    button = gr.Button("Look inside", visible=False, size="sm", elem_id=elem_id)
    for one in galleries:
        one.gallery.select(choose, one.images, [page.image, button], **QUIET)
    button.click(lambda: gr.Tabs(selected="inspect"), None, page.tabs, **QUIET)
    return button


@shows_user_errors
def choose(images: list[int], event: gr.SelectData) -> tuple[int, gr.Button]:
    """The clicked image becomes the chosen one."""
    image = images[event.index]
    return image, gr.Button(f"Look inside image {image + 1}", visible=True)


def _opener(slot: int, slots: int) -> Callable[..., list[Any]]:
    """The handler of a click on the matrix in this slot."""

    @shows_user_errors
    def open_cell(key: str | None, event: gr.EventData) -> list[Any]:
        row, column = event._data["index"]
        result = find_seed(key)
        return cell_images(result, matrix_runs(result, slots)[slot], row, column)

    return open_cell


def matrix_runs(result: Result, most: int) -> list[int]:
    """Which runs have a confusion matrix, `most` of them: the yardstick and the best of the others."""
    if len(result.runs) <= most:
        return list(range(len(result.runs)))
    base, _ = best_two(result)
    others = sorted((i for i in range(len(result.runs)) if i != base), key=lambda i: -result.runs[i].test.correct)
    return sorted([base, *others[: most - 1]])


def cell_images(result: Result, index: int, true: int, called: int) -> list[Any]:
    """Heading, gallery and images of class `true` that the run `index` called `called`."""
    run = result.runs[index]
    images = np.flatnonzero((run.labels == true) & (predicted(run) == called)).tolist()
    heading = f"{labels(result)[index]}: true “{run.classes[true]}”, called “{run.classes[called]}”: {_count(images)}"
    return _filled(result, heading, images, lambda image: str(image + 1))


@shows_user_errors
def disagreements(key: str | None, first: str | None, second: str | None) -> list[Any]:
    """Both galleries: what only the run named `second` got right, and what only `first` did."""
    result = find_seed(key)
    if result is None or first is None or second is None:
        return _nothing("") * 2
    names, pair = labels(result), [number(result, name) for name in (second, first)]
    shown: list[Any] = []
    for good, bad in (pair, pair[::-1]):
        images = np.flatnonzero(right(result.runs[good]) & ~right(result.runs[bad])).tolist()
        heading = f"{names[good]} right, {names[bad]} wrong: {_count(images)}"
        shown += _filled(result, heading, images, _mistake(result.runs[bad]))
    return shown


def _mistake(run: Run) -> Callable[[int], str]:
    said = predicted(run)
    return lambda image: f"{run.classes[run.labels[image]]}, not {run.classes[said[image]]}"


def _filled(result: Result, heading: str, images: list[int], caption: Callable[[int], str]) -> list[Any]:
    more = f" (the first {SHOWN} are shown)" if len(images) > SHOWN else ""
    images = images[:SHOWN]
    try:
        shown = pictures.gallery(result, images, caption)
    except UserError as error:  # counts need no pictures
        return _nothing(f"{heading}. {error}")
    return [heading + more, gr.Gallery(shown, visible=bool(shown), selected_index=None), images]


def _nothing(text: str) -> list[Any]:
    return [text, gr.Gallery([], visible=False, selected_index=None), []]


def _count(images: list[int]) -> str:
    return {0: "no image", 1: "1 image"}.get(len(images), f"{len(images)} images")


@shows_user_errors
def offer(key: str | None) -> list[Any]:
    """No cell is open, and the yardstick stands against the best of the others."""
    result = find_seed(key)
    closed = [*_nothing(_CLICK_A_CELL if result else ""), gr.Button(visible=False)]
    if result is None or len(result.runs) < 2:
        text = SECOND if result else ""
        empty = gr.Dropdown([], value=None)
        return [*closed, empty, empty, *_nothing(text), *_nothing(""), gr.Button(visible=False)]
    choices = [(name, run.name) for name, run in zip(labels(result), result.runs, strict=True)]
    first, second = (result.runs[i].name for i in best_two(result))
    return [*closed, gr.Dropdown(choices, value=first), gr.Dropdown(choices, value=second), *disagreements(key, first, second),
            gr.Button(visible=False)]
