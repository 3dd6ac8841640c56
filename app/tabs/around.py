"""The neighbours of the chosen image in the full space, before and after tuning."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from app import flat, pictures
from app.events import QUIET, when
from app.journeys import LAST
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.results import Result, find_seed
from app.verdict import number
from vpt_core.analysis import nearest
from vpt_core.errors import UserError
from vpt_core.runs import Run
from vpt_core.standing import right

COUNT = 6
_NOTE = (
    "The test images whose features point most nearly the same way, with their class and the cosine; ✓ and ✗ say whether the "
    "model gets them right. Click one to choose it. After tuning, look for neighbours of the image's own class. Near features "
    "say that the model treats two images alike, not why, and the nearest may be far: look at the cosine."
)


def build(page: Page, run: gr.Radio, left: gr.Dropdown, layer: gr.Dropdown, part: gr.Tab) -> dict[str, Any]:
    """Components and events of the section; `left` says what stands on the left. Gives the event that fills it."""
    gr.Markdown("### Neighbours of the chosen image")
    galleries, states, shown = [], [], []
    with gr.Row():
        for side in ("before", "after"):
            with gr.Column(min_width=320):
                said = sentence(elem_id=f"inspect-around-{side}-said")
                gallery = gr.Gallery(label=f"Neighbours {side} tuning", show_label=False, columns=COUNT, height="auto",
                                     object_fit="cover", allow_preview=False, interactive=False, buttons=[],
                                     elem_id=f"inspect-around-{side}", elem_classes=["around"])
                images = gr.State([])
            galleries.append(gallery)
            states.append(images)
            shown += [said, gallery, images]
    sentence(_NOTE, css="note")
    showing = {"fn": show, "inputs": [page.result, run, left, page.image, layer], "outputs": shown}
    when([part.select, run.change, left.change, page.image.change], **showing)
    for gallery, images in zip(galleries, states, strict=True):
        gallery.select(choose, images, page.image, **QUIET)
    return showing


@shows_user_errors
def show(key: str | None, name: str | None, left: str, image: int, layer: int = LAST) -> list[Any]:
    """For each side a sentence, the pictures and the numbers of the neighbours; nothing new while the layer is being read."""
    result = find_seed(key)
    if result is None or name is None or image >= result.runs[0].test.total:
        return ["", [], []] * 2
    shown = flat.pair(result, result.runs[number(result, name)], left, layer)
    if not shown.is_read:
        return [gr.skip()] * 6
    sides = zip(flat.titles(result, shown), shown.features, (shown.judge, shown.run), strict=True)
    return [part for title, features, run in sides for part in _side(result, run, title, features, image)]


def _side(result: Result, run: Run, title: str, features: np.ndarray, image: int) -> list[Any]:
    images, cosines = nearest(features, image, COUNT)
    truth, good = run.labels, right(run)
    captions = {int(i): f"{'✓' if good[i] else '✗'} {run.classes[truth[i]]}, {cosine:.2f}"
                for i, cosine in zip(images, cosines, strict=True)}
    alike = int((truth[images] == truth[image]).sum())
    said = f"{title}: {alike} of the {len(images)} nearest are “{run.classes[truth[image]]}” as image {image + 1} is."
    try:
        return [said, pictures.gallery(result, images.tolist(), captions.__getitem__), images.tolist()]
    except UserError as error:
        return [f"{said} {error}", [], []]


@shows_user_errors
def choose(images: list[int], event: gr.SelectData) -> int:
    """The clicked neighbour becomes the chosen image."""
    return images[event.index]
