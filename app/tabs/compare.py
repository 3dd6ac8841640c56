"""Compare: the methods on the same test images, with the uncertainty of each number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.components import plot
from app.events import LATEST, when
from app.figures import accuracy_figure, classes_figure, confusion_figure
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.progress import curves
from app.results import find
from app.tabs import differences, ledger, trap
from app.verdict import labels, table, verdict

MATRICES = 3
_EMPTY = "No result yet. Tune a method in Tune."
_NOTES = {
    "accuracy": "The bars are 95 % intervals for other test images of the same kind; they leave out what other training images "
                "or other seeds would change: of several seeds the small dots show that. Where bars overlap, read the sentence "
                "on top: it compares image by image, which is sharper. Of more than four methods each has a row, the one that "
                "learns the fewest numbers on top; a hollow point is significantly worse than the best.",
    "curves": "Each line is one run, over the share of its training. With few validation images the left lines jump. A falling "
              "training loss alone does not mean that new images are classified better.",
    "classes": "Which classes a method finds hard: how many of its test images are right, of more than four methods how many "
               "percent. A class with few images says little: hover for its interval.",
    "confusion": "Rows are true classes, columns what the method called them: right answers are teal, mistakes red, stronger "
                 "for a larger share of the row. Click a cell to see its images. One image is an example, not a pattern.",
}


@dataclass(frozen=True)
class _Overview:
    """What follows from the result alone, top to bottom."""

    verdict: gr.HTML
    accuracy: gr.HTML
    table: gr.Dataframe
    curves: gr.HTML
    classes: gr.HTML
    frames: list[gr.Column]
    matrices: list[gr.HTML]
    which: gr.HTML

    def all(self) -> list[gr.blocks.Block]:
        return [self.verdict, self.accuracy, self.table, self.curves, self.classes, *self.frames, *self.matrices, self.which]


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the tab."""
    overview = _overview()
    refreshed = when([tab.select, page.result.change], show, page.result, overview.all())
    cell = differences.build_cell(page, overview.matrices)
    pair = differences.build_pair(page)
    refreshed.success(differences.offer, page.result, [*cell, *pair], **LATEST)
    trap.build(page, refreshed)
    ledger.build(page, tab)


def _overview() -> _Overview:
    said = sentence(_EMPTY, elem_id="compare-verdict", css="vpt-sentence")
    with gr.Row():
        with gr.Column(min_width=320):
            accuracy = plot(label="Test accuracy and trained parameters", empty=_EMPTY, height=340, elem_id="compare-accuracy")
            sentence(_NOTES["accuracy"], css="note")
        with gr.Column(min_width=320):
            lines = plot(label="Learning curves", empty=_EMPTY, height=340, elem_id="compare-curves")
            sentence(_NOTES["curves"], css="note")
    numbers = gr.Dataframe(datatype="str", interactive=False, wrap=True, buttons=[], label="In numbers",
                         elem_id="compare-table")
    classes = plot(label="Test accuracy of each class", empty=_EMPTY, height=240, elem_id="compare-classes")
    sentence(_NOTES["classes"], css="note")
    gr.Markdown("### What is taken for what")
    with gr.Row():
        frames, matrices = zip(*(_matrix(slot) for slot in range(MATRICES)), strict=True)
    which = sentence(css="note", elem_id="compare-confusion-which")
    sentence(_NOTES["confusion"], css="note")
    return _Overview(said, accuracy, numbers, lines, classes, list(frames), list(matrices), which)


def _matrix(slot: int) -> tuple[gr.Column, gr.HTML]:
    """A confusion matrix and the column that hides it: a hidden plot itself would lose its properties."""
    with gr.Column(min_width=320, visible=slot == 0) as frame:
        return frame, plot(label=f"Confusion matrix {slot + 1}", empty=_EMPTY, height=380, elem_id=f"compare-confusion-{slot}")


@shows_user_errors
def show(key: str | None) -> list[Any]:
    """Everything that follows from the result alone."""
    result = find(key)
    if result is None:
        return [_EMPTY, None, None, None, None, *_columns(1), *[None] * MATRICES, ""]
    one = result.one_seed
    shown = differences.matrix_runs(one, MATRICES)
    matrices = [confusion_figure(one.runs[i], labels(one)[i]) for i in shown]
    left_out = len(one.runs) - len(shown)
    which = f"{left_out} more methods, with fewer test images right, are left out here." if left_out else ""
    compared = result.comparison
    runs = [run for standing in compared.standings for run in standing.runs]
    return [verdict(result), accuracy_figure(compared), table(result), curves(runs, result.key), classes_figure(compared),
            *_columns(len(shown)), *matrices, *[None] * (MATRICES - len(shown)), which]


def _columns(count: int) -> list[gr.Column]:
    return [gr.Column(visible=slot < count) for slot in range(MATRICES)]
