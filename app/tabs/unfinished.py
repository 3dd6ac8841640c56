"""Runs that were broken off, by a crash or a restart, and the button that goes on with them. Part of Tune."""

from __future__ import annotations

import gradio as gr

from app import caps, estimate, visitors
from app.events import QUIET, when
from app.jobs import JOBS
from app.messages import sentence, shows_user_errors
from app.page import Page
from app.results import cached_task
from vpt_core.errors import UserError
from vpt_core.runs import Run, list_runs, open_run
from vpt_core.standing import labels

_SAID = "This was broken off before its end. Going on with it leads to the result that it would have had."


def build(page: Page, tab: gr.Tab) -> gr.events.Dependency:
    """Components and events of the section, which hides while nothing was broken off; gives the event that goes on."""
    with gr.Column(visible=False, elem_id="tune-unfinished") as section:
        sentence(_SAID, css="note")
        with gr.Row(equal_height=True):
            name = gr.Dropdown([], show_label=False, container=False, elem_id="tune-broken", min_width=260, scale=3)
            button = gr.Button("Go on", elem_id="tune-go-on", min_width=100, scale=1)
    when([tab.select, page.entered.change, page.job.change], offer, None, [section, name])
    begun = button.click(go_on, name, page.job, **QUIET)
    begun.success(offer, None, [section, name], **QUIET)
    return begun


def offer() -> tuple[gr.Column, gr.Dropdown]:
    """The visitor's unfinished runs, newest first."""
    mine = visitors.folder()
    runs = [run for run in list_runs(mine) if run.unfinished] if mine else []
    choices = [(_title(run), run.name) for run in runs]
    return gr.Column(visible=bool(runs)), gr.Dropdown(choices, value=choices[0][1] if choices else None)


def _title(run: Run) -> str:
    done = run.history[-1].epoch if run.history else 0
    task = run.status.get("task_title", "")
    parts = [labels([run.spec])[0], *([task] if task else []), f"{done} of {run.spec.epochs} epochs"]
    return " · ".join([*parts, f"seed {run.spec.seed}"])


@shows_user_errors
def go_on(name: str | None) -> str:
    """Put a run in line that was broken off; gives the job's id."""
    run = open_run(visitors.own_folder(), name or "")
    try:
        task = cached_task(run.spec.task)
    except UserError as error:  # its text may name a folder of the server
        raise UserError("The images of this run are not on this computer any more, so it cannot go on.") from error
    seconds = estimate.run_seconds(run.spec, task)
    caps.check_caps([run.spec], seconds)
    return JOBS.go_on(run, visitors.owner(), seconds).id
