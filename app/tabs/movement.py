"""How tuning moved the embeddings: two maps of the same images on one pair of axes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr
import numpy as np

from app import inside
from app.components import plot
from app.figures import map_figure
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.results import Result, find_seed
from app.verdict import number
from vpt_core.analysis import Maps, pca_maps
from vpt_core.errors import UserError
from vpt_core.runs import Run

ALL = -1
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_EMPTY = "The map of the test images appears here."
_WAIT = "A first map by PCA; UMAP is being drawn, which takes some 20 s the first time ..."
_SAME = " Both maps are the same: this method leaves the features as they are."
_NOTE = (
    "Each point is a test image as the classifier sees it; crosses are images that the tuned model gets wrong. Hover to see an "
    "image, click to choose it. After tuning, look for classes that part and crosses between them. Sizes of clusters and "
    "distances between far ones mean little in UMAP, and a flat map can hide or invent gaps: trust the count in the full space."
)


@dataclass(frozen=True)
class MapPanel:
    """What the rest of the tab needs: the choice of a class, and the arguments of the event that draws the maps."""

    only: gr.Dropdown
    drawing: dict[str, Any]


def build(page: Page, run: gr.Radio) -> MapPanel:
    """Components of the maps, and their events for the run chosen in `run`."""
    gr.Markdown("### How tuning moved the images")
    with gr.Row():
        by = gr.Radio([("class", "class"), ("right or wrong", "right")], value="class", label="Colour", min_width=260,
                      elem_id="inspect-colour")
        only = gr.Dropdown(class_choices([]), value=ALL, label="Show one class", elem_id="inspect-class", min_width=260)
    with gr.Row():
        with gr.Column(min_width=320):
            gr.Markdown("**Before tuning** (frozen backbone)")
            before = plot(label="Map before tuning", empty=_EMPTY, height=400, elem_id="inspect-before")
        with gr.Column(min_width=320):
            gr.Markdown("**After tuning**")
            after = plot(label="Map after tuning", empty=_EMPTY, height=400, elem_id="inspect-after")
    status = sentence(css="note", elem_id="inspect-map-status")
    neighbours = sentence(elem_id="inspect-neighbours")
    sentence(_NOTE, css="note")
    inputs, shown = [page.result, run, by, only, page.image], [before, after, status, neighbours]
    gr.on([by.input, only.input, page.image.change], redraw, inputs, [before, after], trigger_mode="always_last", **_PRIVATE)
    for one in (before, after):
        one.select(choose, page.result, page.image, **_PRIVATE)
    return MapPanel(only, {"fn": draw, "inputs": inputs, "outputs": shown})


def class_choices(classes: Sequence[str]) -> list[tuple[str, int]]:
    """Choices of the class to show alone."""
    return [("All classes", ALL), *((name, k) for k, name in enumerate(classes))]


@shows_user_errors
def draw(key: str | None, name: str | None, by: str, only: int, image: int) -> Iterator[list[Any]]:
    """Both maps, a sentence on how they were made, and what the full space says; PCA at once, UMAP when it is ready."""
    result = find_seed(key)
    if result is None or name is None:
        yield [None, None, "", ""]
        return
    run = result.runs[number(result, name)]
    try:
        said = inside.neighbours(run)
        known = inside.recorded_maps(run)
        if known is None:
            yield [*_values(result, run, _first(run), by, only, image), _WAIT, said]
            known = inside.draw_maps(run)
    except UserError as error:
        yield [None, None, str(error), ""]
        return
    same = _SAME if np.array_equal(known.before, known.after) else ""
    yield [*_values(result, run, known, by, only, image), f"Drawn by UMAP.{same}", said]


@shows_user_errors
def redraw(key: str | None, name: str | None, by: str, only: int, image: int) -> list[Any]:
    """Both maps with other colours or another chosen image, as they are known by now."""
    result = find_seed(key)
    if result is None or name is None:
        return [None, None]
    run = result.runs[number(result, name)]
    try:
        return _values(result, run, inside.recorded_maps(run) or _first(run), by, only, image)
    except UserError:  # `draw` says why there is no map
        return [None, None]


def _first(run: Run) -> Maps:
    return pca_maps(run.array("frozen"), run.array("features"))


def _values(result: Result, run: Run, maps: Maps, by: str, only: int, image: int) -> list[dict[str, Any]]:
    both = np.stack([maps.before, maps.after])
    chosen = image if image < len(maps.before) else None
    return [map_figure(run, places, both, result, by=by, only=None if only == ALL else only, chosen=chosen) for places in both]


@shows_user_errors
def choose(key: str | None, event: gr.EventData) -> Any:
    """The clicked point becomes the chosen image."""
    result, clicked = find_seed(key), event._data["customdata"]
    if result is None or clicked is None:
        return gr.skip()
    image = int(clicked[0] if isinstance(clicked, list) else clicked)
    if not 0 <= image < result.runs[0].test.total:
        raise UserError(f"There is no test image {image + 1}; this result has {result.runs[0].test.total}.")
    return image
