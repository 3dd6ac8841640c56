"""Load a run that was saved as a zip, here or elsewhere. A part of Save."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from app import settings, visitors
from app.events import QUIET
from app.messages import shows_user_errors
from app.page import Page
from app.results import choices_of
from vpt_core.run_zip import unpack_run

_ABOUT = (
    "A zip that *Download the whole run* made comes back here as a result, on this computer or another one. It holds no "
    "images: unless its task is built in, what needs them (galleries, attention, knock-outs) is not there; its numbers are."
)


def build(page: Page) -> None:
    """Components and events of the section."""
    with gr.Accordion("Load a saved run", open=False, elem_id="save-load"):
        gr.Markdown(_ABOUT, elem_classes=["note"])
        field = gr.File(label="A run's zip", file_types=[".zip"], height=130, elem_id="save-load-file")
    loading = field.upload(load, [field, page.result], [page.result, field], concurrency_limit=1, show_progress_on=[field],
                           **QUIET | {"show_progress": "minimal"})  # fmt: skip
    loading.failure(lambda: None, None, field, **QUIET)  # what was refused makes room for the next one


@shows_user_errors
def load(path: str | None, shown: str | None) -> tuple[gr.Dropdown, Any]:
    """Take a saved run in; the result on show is its own then, and was `shown` before. Empties the field."""
    if path is None:
        return gr.Dropdown(**choices_of([], shown)), None
    zip, root = Path(path), visitors.own_folder()
    visitors.check_room(zip.stat().st_size)
    return gr.Dropdown(**choices_of([unpack_run(zip, root, settings.LIMITS).name], shown)), None
