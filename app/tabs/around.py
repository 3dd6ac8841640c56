"""The neighbours of the chosen image in the full space, before and after tuning."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from app import flat, pictures
from app.downloads import csv_file
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
    with gr.Row():
        files = [gr.DownloadButton(f"Neighbours as {kind}", interactive=False, min_width=200, scale=0,
                                   elem_id=f"inspect-around-{kind.lower()}") for kind in ("PNG", "CSV")]
    inputs = [page.result, run, left, page.image, layer]
    showing = {"fn": show, "inputs": inputs, "outputs": [*shown, *files]}
    when([part.select, run.change, left.change, page.image.change], **showing)
    for gallery, images in zip(galleries, states, strict=True):
        gallery.select(choose, images, page.image, **QUIET)
    return showing


@shows_user_errors
def show(key: str | None, name: str | None, left: str, image: int, layer: int = LAST) -> list[Any]:
    """For each side a sentence, the pictures and the numbers of the neighbours; nothing new while the layer is being read."""
    result = find_seed(key)
    if result is None or name is None or image >= result.runs[0].test.total:
        return [*["", [], []] * 2, *[gr.DownloadButton(interactive=False)] * 2]
    shown = flat.pair(result, result.runs[number(result, name)], left, layer)
    if not shown.is_read:
        return [gr.skip()] * 8
    sides = zip(flat.titles(result, shown), shown.features, (shown.judge, shown.run), strict=True)
    shown = [part for title, features, run in sides for part in _side(result, run, title, features, image)]
    return [*shown, *_files(result, shown[2], shown[5], image)]


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


def _files(result: Result, before: list[int], after: list[int], image: int) -> list[gr.DownloadButton]:
    """What can be taken away: the pictures, a row a side with the chosen image first, and the names as CSV."""
    if not before or not after:
        return [gr.DownloadButton(interactive=False)] * 2
    sides = {"left": before, "right": after}
    rows = [np.concatenate([pictures.pixels(result, i, pictures.THUMB) for i in [image, *found]], axis=1)
            for found in sides.values()]
    run = result.runs[0]
    lines = [[side, rank, run.image_names[i], run.classes[run.labels[i]]]
             for side, found in sides.items() for rank, i in enumerate(found, start=1)]
    table = csv_file(f"neighbours-of-image-{image + 1}", ["map", "rank", "image", "class"], lines)
    picture = pictures.as_file(np.concatenate(rows), "png")
    return [gr.DownloadButton(value=file, interactive=True) for file in (picture, str(table))]


@shows_user_errors
def choose(images: list[int], event: gr.SelectData) -> int:
    """The clicked neighbour becomes the chosen image."""
    return images[event.index]
