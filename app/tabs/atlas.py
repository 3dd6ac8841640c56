"""Where the model looks over many images: the attention viewer and the shares by layer for a class or all test images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app import looking, pictures
from app.components import attention_viewer, plot, progress_bar
from app.figures import many_shares_figure
from app.messages import sentence, shows_user_errors
from app.models import classifier
from app.page import Page
from app.results import find_seed
from app.verdict import labels, number
from app.viewer import atlas_value
from vpt_core.errors import UserError

IMAGE, CLASS, TEST = "image", "class", "test"
OVER = [("this image", IMAGE), ("the test images of its class", CLASS), ("all test images", TEST)]
_VIEWER_NOTE = (
    "Bright patches get more attention from what is shown above the picture; the list and the grid show what the prompts get. "
    "Press a prompt to see where it looks itself. Over many images you see the mean at the same place of the image, over "
    "their mean picture, and under Shown how much images differ there. Attention says where information can flow from. It is "
    "no proof of why the model answers as it does."
)
_SHARES_NOTE = (
    "How much of the attention the prompts take, layer by layer. Much attention does not mean much influence: the prompts' "
    "values may be small. Whether it does in this run is what Knock-out measures. A single image is an example."
)
_NO_SHARES = "For a method with prompts, what they get of the attention appears here."


@dataclass(frozen=True)
class AtlasPanel:
    """What the rest of the tab needs: over what to show, viewer and chart, and the event that fills them for many images."""

    over: gr.Radio
    viewer: gr.HTML
    shares: gr.HTML
    drawing: dict[str, Any]


def build(page: Page, run: gr.Radio) -> AtlasPanel:
    """Components of the attention part."""
    over = gr.Radio(OVER, value=IMAGE, label="Attention over", elem_id="inspect-over")
    status = progress_bar(empty="", elem_id="inspect-atlas-status", visible=False)
    viewer = attention_viewer(elem_id="inspect-attention")
    sentence(_VIEWER_NOTE, css="note")
    shares = plot(label="Attention to the prompts by layer", height=280, elem_id="inspect-shares", empty=_NO_SHARES)
    sentence(_SHARES_NOTE, css="note")
    drawing = {"fn": draw, "inputs": [page.result, run, page.image, over], "outputs": [viewer, shares, status]}
    return AtlasPanel(over, viewer, shares, drawing)


@shows_user_errors
def draw(key: str | None, name: str | None, image: int, over: str) -> Iterator[list[Any]]:
    """Viewer, chart and progress for a class or all test images; one image is left to `inspect.show_image`."""
    result = find_seed(key)
    if over == IMAGE or result is None or name is None or image >= result.runs[0].test.total:
        yield [gr.skip(), gr.skip(), gr.HTML(visible=False)]
        return
    run = result.runs[number(result, name)]
    work = looking.atlas(run)
    try:
        while True:
            done, total = next(work)
            text = f"Reading the attention of {total} test images ..."
            yield [gr.skip(), gr.skip(), gr.HTML({"text": text, "done": done, "total": total, "tone": ""}, visible=True)]
    except StopIteration as end:
        atlases = end.value
    except UserError:  # `inspect.show_image` says why
        yield [None, None, gr.HTML(visible=False)]
        return
    label = int(run.labels[image]) if over == CLASS else None
    atlas = atlases[label]
    which = f"{atlas.images} test images" + (f" of “{run.classes[label]}”" if label is not None else "")
    title = f"Mean of {which}, {labels(result)[result.runs.index(run)]}"
    picture = pictures.mean_picture(run, label, run.spec.image_size)
    yield [atlas_value(picture, atlas, classifier(run).model, title), many_shares_figure(atlas), gr.HTML(visible=False)]
