"""What prompts are near: the patches of training images that have the most similar keys, and prompts among themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr
import numpy as np

from app import looking, pictures
from app.components import plot, progress_bar
from app.downloads import csv_file
from app.events import LATEST, QUIET, when
from app.figures import among_figure
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.verdict import run_of
from vpt_core.errors import UserError
from vpt_core.runs import Run

ALIKE = 0.8
_INTRO = (
    "A prompt enters a layer as a key that the others can attend to. Which image patches have a similar key there? Looked for "
    "in the training images, with the keys of all heads joined and without what all patches' keys have in common."
)
_NOTE = (
    "Left the patch, enlarged, right the image that it is from. A patch and a prompt with similar keys are attended to by the "
    "same queries. That does not mean that the prompt stands for what you see: its value, which is what it adds, may be "
    "quite another one, and a cosine far below 1 means that the nearest patch is not near."
)
_AMONG_NOTE = (
    "Teal pairs are asked for by the same queries and may do the same work twice; pale ones have nothing in common. "
    "Similar keys alone do not make a prompt superfluous: whether it can go is what Knock-out measures."
)


def build(page: Page, run: gr.Radio, tab: gr.Tab) -> None:
    """Components and events of the part."""
    sentence(_INTRO)
    go = gr.Button("Find the nearest patches", variant="primary", elem_classes=["primary-action"], elem_id="near-go")
    status = progress_bar(empty="", elem_id="near-status")
    with gr.Column(visible=False) as filled:
        with gr.Row():
            layer = gr.Dropdown([], label="Layer", interactive=True, elem_id="near-layer", min_width=140)
            prompt = gr.Dropdown([], label="Prompt", interactive=True, elem_id="near-prompt", min_width=140)
        said = sentence(elem_id="near-said")
        gallery = gr.Gallery(label="Nearest patches", show_label=False, columns=6, height="auto", object_fit="contain",
                             interactive=False, buttons=["download", "fullscreen"], elem_id="near-gallery",
                             elem_classes=["pairs"])
        data = gr.DownloadButton("All of them as CSV", interactive=False, min_width=200, scale=0, elem_id="near-data")
        sentence(_NOTE, css="note")
        gr.Markdown("### Are prompts of a layer alike?")
        chart = plot(label="Similarity among prompts", height=380, elem_id="near-among")
        sentence(_AMONG_NOTE, css="note")

    asked, shown = [page.result, run, layer, prompt], [filled, said, gallery, chart]
    go.click(find, [page.result, run], [status, layer, prompt], concurrency_limit=1, **QUIET).success(
        show, asked, shown, **LATEST).success(pack, [page.result, run], data, **LATEST)
    gr.on([layer.input, prompt.input], show, asked, shown, **LATEST)
    when([tab.select, run.change], offer, [page.result, run], [go, status, layer, prompt]).success(
        show, asked, shown, **LATEST).success(pack, [page.result, run], data, **LATEST)


def _choices(run: Run) -> list[Any]:
    """Dropdowns of layers and prompts of what was found; empty ones before."""
    known = looking.known_near(run)
    if known is None:
        return [gr.Dropdown([], value=None), gr.Dropdown([], value=None)]
    counts = [len(images) for images in known[0].image]
    layers = [(f"layer {i}", i) for i, count in enumerate(counts, start=1) if count]
    prompts = [(f"prompt {k}", k) for k in range(1, max(counts) + 1)]
    return [gr.Dropdown(layers, value=layers[-1][1]), gr.Dropdown(prompts, value=1)]


@shows_user_errors
def offer(key: str | None, name: str | None) -> list[Any]:
    """The choices of another run, as far as it was looked through."""
    run = run_of(key, name)
    prompted = run is not None and looking.has_prompts(run)
    text = None if prompted else {"text": "This method has no prompt tokens. Choose VPT-shallow or VPT-deep.", "done": None,
                                  "total": 0, "tone": ""}
    return [gr.Button(interactive=prompted), text, *(_choices(run) if run else [gr.skip(), gr.skip()])]


@shows_user_errors
def find(key: str | None, name: str | None) -> Iterator[list[Any]]:
    """Look through the training images, with progress."""
    run = run_of(key, name)
    if run is None:
        raise UserError("There is no result yet. Tune VPT in Tune.")
    work = looking.near(run)
    while True:
        try:
            done, total = next(work)
        except StopIteration as end:
            images = len(end.value[1])
            break
        yield [{"text": f"{done} of {total} training images", "done": done, "total": total, "tone": ""}, gr.skip(), gr.skip()]
    text = f"Patches of {images} training images, evenly over the classes."
    yield [{"text": text, "done": None, "total": 0, "tone": ""}, *_choices(run)]


@shows_user_errors
def pack(key: str | None, name: str | None) -> gr.DownloadButton:
    """A file with every patch that was found for the chosen run, in all layers."""
    run = run_of(key, name)
    lines = looking.near_table(run) if run else []
    if not lines:
        return gr.DownloadButton(value=None, interactive=False)
    head = ["layer", "prompt", "rank", "image", "row", "column", "cosine"]
    return gr.DownloadButton(value=str(csv_file(f"near-patches-{run.spec.method}", head, lines)), interactive=True)


@shows_user_errors
def show(key: str | None, name: str | None, layer: int | None, prompt: int | None) -> list[Any]:
    """What is near to a prompt in a layer, in words and pictures, and how alike the layer's prompts are."""
    run = run_of(key, name)
    known = looking.known_near(run) if run else None
    if known is None or layer is None or prompt is None or prompt > len(known[0].image[layer - 1]):
        return [gr.Column(visible=False), "", [], None]
    near, pixels = known
    rows = zip(near.image[layer - 1][prompt - 1], near.row[layer - 1][prompt - 1], near.column[layer - 1][prompt - 1],
               near.cosine[layer - 1][prompt - 1], strict=True)
    pairs = [(pictures.as_file(pictures.framed(pixels[i], r, c, near.grid)), f"cosine {cosine:.2f}")
             for i, r, c, cosine in rows]  # fmt: skip
    cosines, among = near.cosine[layer - 1][prompt - 1], near.among[layer - 1]
    others = among[np.triu_indices(len(among), 1)]
    said = (f"In layer {layer} the nearest patch has cosine {cosines[0]:.2f} to prompt {prompt}, number {len(cosines)} has "
            f"{cosines[-1]:.2f}. Of the {len(others)} pairs of prompts {(others > ALIKE).sum()} have a cosine above {ALIKE}.")
    return [gr.Column(visible=True), said, pairs, among_figure(among)]
