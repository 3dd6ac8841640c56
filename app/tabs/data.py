"""Data: a built-in task or a person's own images, and the report on it before anything is trained."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from app import sources
from app.components import stat_cards
from app.events import QUIET
from app.messages import shows_user_errors
from app.page import Page
from app.pictures import as_file
from app.tabs import bring, own
from vpt_core.tasks import TASKS, Task

SHOWN = 24  # sample images


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the tab."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            names = [(f"{row.title} ({row.group})", name) for name, row in TASKS.items()]
            choice = gr.Radio(names, label="A built-in task", elem_id="data-task")
            archive = bring.archive()
        with gr.Column(scale=3, min_width=320):
            about = gr.HTML(elem_id="data-about", html_template="<h3>{{value.title}}</h3><p class='note'>{{value.about}}</p>")
            cards = stat_cards(empty="No data set yet.", elem_id="data-cards")
            warnings = gr.HTML(
                visible=False, elem_classes=["warn"], elem_id="data-warnings",
                html_template="<ul>{{#each value}}<li>{{this}}</li>{{/each}}</ul>",
            )
            forward = gr.Button("Next: tune", variant="primary", elem_classes=["primary-action"], elem_id="data-next")
    fields = bring.build(archive)
    samples = gr.Gallery(
        label="Samples",
        show_label=False,
        columns=12,
        height=230,
        object_fit="cover",
        allow_preview=False,
        interactive=False,
        buttons=[],
        fit_columns=False,
        elem_id="data-samples",
        elem_classes=["thumbs"],
    )
    counts, skipped = _tables()
    own.build(page, tab)
    shown = [choice, about, cards, warnings, samples, counts, skipped]
    private: dict[str, Any] = {"api_visibility": "private", "show_progress_on": [cards]}
    page.entered.change(show, page.source, shown, **private)
    choice.input(lambda name: name, choice, page.source, **QUIET).then(
        show, page.source, shown, **private
    )
    bring.wire(fields, page, show, shown, **private)
    forward.click(lambda: gr.Tabs(selected="tune"), None, page.tabs, **QUIET)


def _tables() -> tuple[gr.Dataframe, gr.Dataframe]:
    with gr.Row():
        counts = gr.Dataframe(
            headers=["class", "images", "train", "validate", "test"],
            datatype="str",
            interactive=False,
            max_height=440,
            label="Images a class (split drawn with seed 0)",
            elem_id="data-counts",
        )
        skipped = gr.Dataframe(
            headers=["file", "why it was left out"],
            datatype="str",
            interactive=False,
            wrap=True,
            max_height=440,
            label="Files left out",
            visible=False,
            elem_id="data-skipped",
        )
    return counts, skipped


@shows_user_errors
def show(source: str) -> list[Any]:
    """Everything the tab says of a data set."""
    task = sources.task_of(source)
    report = task.report
    return [
        source if source in TASKS else None,
        {"title": task.title, "about": task.about},
        cards_of(task),
        gr.HTML(report.warnings + report.notes, visible=bool(report.warnings or report.notes)),
        samples_of(task),
        counts_of(task),
        gr.Dataframe([list(pair) for pair in report.skipped], visible=bool(report.skipped)),
    ]


def cards_of(task: Task) -> list[dict[str, str]]:
    """Images, classes and the split, as result cards."""
    splits = task.splits(0, 0)
    left_out = len(task.report.skipped)
    return [
        {
            "title": "Images",
            "big": f"{len(task.labels):,}",
            "small": f"{left_out} files left out" if left_out else "none left out",
            "tone": "warn" if left_out else "",
        },
        {"title": "Classes", "big": str(len(task.classes))},
        {
            "title": "Split",
            "big": f"{len(splits.train):,}",
            "small": f"train, {len(splits.val)} validate, {len(splits.test)} test",
        },
    ]


def samples_of(task: Task) -> list[tuple[str, str]]:
    """Files of up to `SHOWN` images with their class, the classes taken in turn."""
    place = np.empty(len(task.labels), dtype=np.int64)
    for label in range(len(task.classes)):
        mine = task.labels == label
        place[mine] = np.arange(mine.sum())
    order = np.lexsort((task.labels, place))[:SHOWN]
    return [(as_file(np.asarray(task.pixels[i])), task.classes[task.labels[i]]) for i in np.sort(order)]


def counts_of(task: Task) -> list[list[str]]:
    """A row a class: name, images, and how many of them train, validate and test."""
    splits = task.splits(0, 0)
    columns = [
        np.bincount(task.labels[index], minlength=len(task.classes)) for index in (splits.train, splits.val, splits.test)
    ]
    return [[name, str(sum(int(c[k]) for c in columns)), *(str(c[k]) for c in columns)] for k, name in enumerate(task.classes)]
