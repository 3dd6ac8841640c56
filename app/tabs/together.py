"""All tasks at once: what every task on one backbone says of the photo of Try it."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np

from app.components import answers_table
from app.messages import shows_user_errors
from app.page import Page
from app.together import answers, asked

_ABOUT = (
    "The frozen model stands in memory once. Every task tuned on it adds its prompts and classes only, so one pass through the "
    "model answers all of them, each from its own classes, whether the photo shows one or not. Of each task's runs with "
    "prompts or only a head, the one with the best test accuracy is asked; methods that change the model cannot share it."
)


def build(page: Page, seen: gr.State) -> dict[str, Any]:
    """Components of the section; gives the arguments of the event that fills it.

    `seen` holds the photo, uint8 (S, S, 3), or None.
    """
    gr.Markdown("### All tasks at once")
    gr.Markdown(_ABOUT, elem_classes=["note"])
    table = answers_table(empty="Choose an image to see what each task says.", elem_id="try-together")
    with gr.Accordion("Add prompt files of this backbone", open=False, elem_id="try-add"):
        files = gr.File(label="Prompt files (.safetensors)", file_types=[".safetensors"], file_count="multiple", height=150,
                        elem_id="try-files")
    event: dict[str, Any] = {"fn": show, "inputs": [page.result, seen, files], "outputs": table, "api_visibility": "private",
                             "show_progress_on": [table], "concurrency_limit": 2, "concurrency_id": "together"}
    gr.on([files.upload, files.delete, files.clear], **event)
    return event


@shows_user_errors
def show(key: str | None, seen: np.ndarray | None, files: list[str] | None) -> dict[str, Any] | None:
    """The value of the table: every task's answer, or which tasks there are while there is no photo."""
    found = asked(key, files or ())
    if found is None or (seen is None and not files):
        return None
    if seen is None:
        return {"said": f"{found.count}; choose an image", "rows": [], "left_out": list(found.left_out)}
    return answers(found, seen)
