"""Start: a recorded run, on screen at once; nothing here waits for a model."""

from __future__ import annotations

import json
from typing import Any

import gradio as gr
import numpy as np

from app.components import attention_viewer, plot, stat_cards
from app.events import QUIET
from app.figures import map_figure
from app.page import Page
from app.progress import card_of
from app.results import RECORDED, Result, all_results

_IDEA = """
### What is prompt tuning?
An image is cut into patches; a vision transformer turns them into tokens and reads the answer off one more, **[CLS]**.
The transformer stays **frozen**. What learns is a handful of extra tokens, the **prompts**, that stand beside the
patches and that [CLS] can attend to, and a linear classifier at the end. So one backbone serves any number of tasks,
and each task is a file of some kilobytes. The **linear probe** learns the classifier alone: the yardstick.
"""


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the tab."""
    recorded = recorded_result()
    with gr.Row():
        with gr.Column(scale=3, min_width=320):
            gr.Markdown(_IDEA)
            with gr.Row():
                own = gr.Button("Use my images", variant="primary", elem_classes=["primary-action"], elem_id="start-own")
                tune = gr.Button("Tune a built-in task", elem_classes=["primary-action"], elem_id="start-tune")
        with gr.Column(scale=4, min_width=320):
            gr.HTML((RECORDED / "idea.svg").read_text(encoding="utf-8"), elem_id="start-idea")
    gr.Markdown(f"### A recorded run: {recorded.title.removeprefix('Recorded: ')}")
    stat_cards([card_of(run) for run in recorded.runs], elem_id="start-cards")
    gr.Markdown(recorded_words(recorded), elem_classes=["note"])
    look = json.loads((RECORDED / "look.json").read_text(encoding="utf-8"))
    picks = gr.Radio(
        [(f"Image {k + 1}", k) for k in range(len(look))],
        value=0,
        show_label=False,
        container=False,
        elem_id="start-pick",
    )
    viewer = attention_viewer(look[0], elem_id="start-attention")
    gr.Markdown(
        "Where [CLS] looks, layer by layer: move the slider. Attention shows where information can flow from, "
        "not why the answer is what it is.",
        elem_classes=["note"],
    )
    before, after = start_maps(recorded)
    with gr.Row():
        with gr.Column(min_width=320):
            gr.Markdown("**Test images before tuning**")
            plot(before, label="[CLS] before tuning", height=340, elem_id="start-before")
        with gr.Column(min_width=320):
            gr.Markdown(f"**After {recorded.runs[-1].title}**")
            plot(after, label="[CLS] after tuning", height=340, elem_id="start-after")
    gr.Markdown(
        "Each point is a test image, its colour is its class, crosses are mistakes; hover to see it. Before tuning the classes "
        "lie mixed, after tuning they part. Distances between far clusters mean little in UMAP.",
        elem_classes=["note"],
    )
    picks.change(lambda k: look[k], picks, viewer, **QUIET)
    own.click(lambda: gr.Tabs(selected="data"), None, page.tabs, **QUIET)
    tune.click(lambda: gr.Tabs(selected="tune"), None, page.tabs, **QUIET)


def recorded_result() -> Result:
    """The runs that come with the program."""
    return next(result for result in all_results().values() if result.recorded)


def recorded_words(result: Result) -> str:
    """One sentence on what the recorded run shows, from its numbers."""
    run = result.runs[-1]
    status, threads = run.status, run.status["threads"]
    share = status["trained"] / status["backbone_parameters"]
    return (
        f"The same {status['counts']['train']} training images, the same frozen backbone of "
        f"{status['backbone_parameters'] / 1e6:.0f} million weights. {run.title} learned {status['trained']:,} numbers, "
        f"{share:.1%} of that, in {status['seconds']['total']:.0f} s on {threads} CPU core{'s' if threads > 1 else ''}. "
        "This task suits prompts: a linear probe on [CLS] hardly knows where things are. On some others the "
        "probe is as good, and Compare says so."
    )


def start_maps(result: Result) -> tuple[dict[str, Any], dict[str, Any]]:
    """The recorded UMAP before and after tuning, as values of two plots."""
    run = result.runs[-1]
    maps = np.load(run.folder / "umap.npy", allow_pickle=False)
    return map_figure(run, maps[0], maps, result), map_figure(run, maps[1], maps, result)
