"""How images moved: two maps of the same images on one pair of axes, and what the full space says of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import flat, inside, looking
from app.components import plot
from app.events import LATEST, QUIET, when
from app.figures import map_figure
from app.figures.maps import CLASS, COLOURINGS, METHOD
from app.journeys import LAST
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.results import Result, find_seed
from app.tabs import around, journey
from app.verdict import labels, number
from vpt_core.analysis import Maps
from vpt_core.errors import UserError

ALL = -1
UMAP = "umap"
_EMPTY = "The map of the test images appears here."
_WAIT = "A first map by PCA; the other is being drawn, which takes some 15 s the first time ..."
_NOTE = (
    "Each point is a test image as the classifier sees it; crosses are images that the model gets wrong. Hover to see an "
    "image, click to choose it. After tuning, look for classes that part and crosses between them. Sizes of clusters and "
    "distances between far ones mean little in UMAP and t-SNE, and a flat map can hide or invent gaps: trust the table below."
)
_LAYER_NOTE = (
    "An earlier layer is shown as if the model ended there: its tokens go through the model's own final norm and read-out, "
    "[CLS] for most. Look in which layer classes begin to part. The later layers were never meant to be left out."
)
_TABLE_NOTE = (
    "Of the test images, without any map: how many have the class that their 5 nearest others name (cosine); the silhouette, "
    "from -1 to 1, is how much nearer images are to their own class than to the next one (cosine); and how many a linear "
    "classifier names right that has learned from the others (ridge, standardised features, 5-fold cross-validation). Higher "
    "is better. It says how the features lie, not how the run's own classifier answers."
)


@dataclass(frozen=True)
class MapPanel:
    """What the rest of the tab needs: the choice of a class, and a count that draws the maps when it goes up."""

    only: gr.Dropdown
    asked: gr.State

    def draw_after(self, event: gr.events.Dependency) -> None:
        """Draw the maps when `event` has succeeded."""
        event.success(lambda count: count + 1, self.asked, self.asked, **QUIET)


def build(page: Page, run: gr.Radio, part: gr.Tab) -> MapPanel:
    """Components of the maps, and their events for the run chosen in `run`."""
    gr.Markdown("### How tuning moved the images")
    with gr.Row():
        method = gr.Radio(flat.choices(), value=UMAP, label="Map by", min_width=260, elem_id="inspect-map")
        colours = {**COLOURINGS, METHOD: "methods that are right"}
        by = gr.Radio([(words, name) for name, words in colours.items()], value=CLASS, label="Colour", min_width=260,
                      elem_id="inspect-colour")
    with gr.Row():
        only = gr.Dropdown(class_choices([]), value=ALL, label="Show one class", elem_id="inspect-class", min_width=260)
        left = gr.Dropdown([(flat.UNTUNED, flat.UNTUNED)], value=flat.UNTUNED, label="Left map", elem_id="inspect-left",
                           min_width=260)
        layer = gr.Dropdown(layer_menu([]), value=LAST, label="Layer", elem_id="inspect-layer", min_width=260)
    sentence(_LAYER_NOTE, css="note")
    with gr.Row():
        with gr.Column(min_width=320):
            title_before = sentence(css="vpt-title", elem_id="inspect-before-title")
            before = plot(label="Map before tuning", empty=_EMPTY, height=400, elem_id="inspect-before")
        with gr.Column(min_width=320):
            title_after = sentence(css="vpt-title", elem_id="inspect-after-title")
            after = plot(label="Map after tuning", empty=_EMPTY, height=400, elem_id="inspect-after")
    status = sentence(css="note", elem_id="inspect-map-status")
    sentence(_NOTE, css="note")
    neighbours = sentence(elem_id="inspect-neighbours")
    table = gr.Dataframe(datatype="str", interactive=False, wrap=True, label="Full space", elem_id="inspect-space",
                         buttons=["copy"])
    sentence(_TABLE_NOTE, css="note")
    near = around.build(page, run, left, layer, part)
    journey.build(page, run, part, method, only, layer)

    inputs = [page.result, run, by, only, page.image, method, left, layer]
    shown = [before, after, status, neighbours, table, title_before, title_after]
    coloured: dict[str, Any] = {"fn": redraw, "inputs": inputs, "outputs": [before, after]}
    panel = MapPanel(only, gr.State(0))
    # What was chosen while a map was on its way counts: the last pictures are of the choices as they are then.
    when([panel.asked.change, method.input, left.input, layer.input], draw, inputs, shown).success(
        **coloured, **LATEST).success(**near, **LATEST)
    when([by.input, only.input, page.image.change], **coloured)
    when([run.change], choices, [page.result, run, left, layer], [left, layer])
    for one in (before, after):
        one.select(choose, page.result, page.image, **QUIET)
    return panel


def class_choices(classes: Sequence[str]) -> list[tuple[str, int]]:
    """Choices of the class to show alone."""
    return [("All classes", ALL), *((name, k) for k, name in enumerate(classes))]


def layer_menu(layers: Sequence[int]) -> list[tuple[str, int]]:
    """Choices of the layer whose features are shown, `layers` before the last one."""
    return [("the last, which the classifier reads", LAST), *((f"layer {layer}", layer) for layer in reversed(layers))]


@shows_user_errors
def choices(key: str | None, name: str | None, left: str, layer: int) -> tuple[gr.Dropdown, gr.Dropdown]:
    """What the left map may show beside a run, the untuned backbone or another run of the result, and the layers to choose."""
    result = find_seed(key)
    others = zip(labels(result), result.runs, strict=True) if result else ()
    sides = [(flat.UNTUNED, flat.UNTUNED), *((title, run.name) for title, run in others if run.name != name)]
    layers = layer_menu(looking.layers_of(result.runs[number(result, name)]) if result and name else [])
    return (gr.Dropdown(sides, value=left if left in {value for _, value in sides} else flat.UNTUNED),
            gr.Dropdown(layers, value=layer if layer in {value for _, value in layers} else LAST))


@shows_user_errors
def draw(key: str | None, name: str | None, by: str, only: int, image: int, method: str = UMAP,
         left: str = flat.UNTUNED, layer: int = LAST) -> Iterator[list[Any]]:
    """Get the maps ready, which `redraw` shows: until then PCA, a sentence on how they were made, what the full space says,
    and titles.
    """
    result = find_seed(key)
    if result is None or name is None:
        yield [None, None, "", "", None, "", ""]
        return
    shown = flat.pair(result, result.runs[number(result, name)], left, layer)
    titles = flat.titles(result, shown)
    try:
        if not shown.is_read:
            for done, total in shown.read():
                text = f"Reading the layers of the model: {done} of {total} test images ..."
                yield [gr.skip(), gr.skip(), text, *[gr.skip()] * 4]
        sides = ("on the left", "on the right") if shown.other else ("before tuning", "after")
        said = [inside.neighbours(shown.features, shown.run.labels, sides), flat.table(result, shown), *titles]
        if (maps := flat.known(shown, method)) is None:
            first = _values(result, shown, flat.best_known(shown, method), by, only, image)
            yield [*first, _WAIT, *said]
            maps = flat.draw(shown, method)
    except UserError as error:
        yield [None, None, str(error), "", None, *titles]
        return
    yield [gr.skip(), gr.skip(), flat.drawn_by(maps, method), *said]


@shows_user_errors
def redraw(key: str | None, name: str | None, by: str, only: int, image: int, method: str = UMAP,
           left: str = flat.UNTUNED, layer: int = LAST) -> list[Any]:
    """Both maps with other colours or another chosen image, as they are known by now."""
    result = find_seed(key)
    if result is None or name is None:
        return [None, None]
    shown = flat.pair(result, result.runs[number(result, name)], left, layer)
    if not shown.is_read:  # `draw` is reading
        return [gr.skip(), gr.skip()]
    try:
        return _values(result, shown, flat.best_known(shown, method), by, only, image)
    except UserError:  # `draw` says why there is no map
        return [None, None]


def _values(result: Result, shown: flat.Pair, maps: Maps, by: str, only: int, image: int) -> list[dict[str, Any]]:
    both = flat.both(maps)
    look = {"by": by, "only": None if only == ALL else only, "chosen": image if image < len(maps.before) else None}
    return [map_figure(run, places, both, result, **look) for run, places in zip((shown.judge, shown.run), both, strict=True)]


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
