"""Save a run as one HTML file with its numbers and pictures."""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from pathlib import Path

import gradio as gr

from app.downloads import new_folder
from app.events import QUIET
from app.messages import shows_user_errors
from app.page import Page
from app.results import find_seed
from app.verdict import labels
from vpt_core.errors import UserError
from vpt_core.report import write_report
from vpt_core.runs import Run

_lock = threading.Lock()


def build(page: Page, run: gr.Radio) -> None:
    """A button that writes the report on the run chosen in `run`, and one that downloads it."""
    write = gr.Button("Write the report (HTML), about a minute", elem_id="save-report-write")
    file = gr.DownloadButton("Download the report", visible=False, elem_id="save-report")
    run.change(lambda: gr.DownloadButton(visible=False), None, file, **QUIET)
    write.click(show, [page.result, run], file, api_visibility="private", show_progress_on=[write], concurrency_limit=2)


@shows_user_errors
def show(key: str | None, name: str | None) -> gr.DownloadButton:
    """The way to the report, written unless it was before."""
    result = find_seed(key)
    run = next((run for run in result.runs if run.name == name), None) if result else None
    if run is None:
        raise UserError("There is no run to report on. Tune one first.")
    with _lock:  # of two visitors with the same wish the second one finds it done
        path = _written(run.folder)
    which = labels([run.spec])[0]  # said, since meanwhile another run may have been chosen
    return gr.DownloadButton(
        f"Download the report of {which} ({path.stat().st_size / 1000:,.0f} kB)", value=str(path), visible=True
    )


@lru_cache(maxsize=64)
def _written(folder: Path) -> Path:
    run = Run(folder)
    label = re.sub(r"[^\w-]+", "-", f"{run.status['task_title']}-{run.spec.method}").strip("-").lower()
    return write_report(run, new_folder() / f"{label}.html")
