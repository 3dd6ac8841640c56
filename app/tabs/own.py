"""What a visitor has on a public server: how long it stays, and the button that deletes it. The end of Data."""

from __future__ import annotations

import gradio as gr

from app import keeper, settings, visitors
from app.events import QUIET, when
from app.jobs import JOBS
from app.messages import sentence, shows_user_errors
from app.page import Page
from vpt_core.errors import UserError

ELEMENT = "data-own"


def rules() -> str:
    """What holds on a public server, with its numbers."""
    time = f"{settings.JOB_MINUTES} min, as estimated" if settings.JOB_MINUTES else "any time"
    each = f"; {settings.JOBS_EACH} of yours may be in line at once" if settings.JOBS_EACH else ""
    return (
        f"Others use this server too. They cannot see what you load or tune here; those who run it can. Your browser knows you "
        f"again after a reload. What you leave unused for {settings.IDLE_MINUTES} min is deleted, sooner only if the server is "
        f"full: take away what you need in Save. You have room for {settings.VISITOR_MB:,} MB. A tuning may take {time}{each}. "
        f"It is stopped {settings.GRACE_SECONDS} s after you close the page."
    )


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the section; on a server that is not public there is none."""
    if not settings.PUBLIC:
        return
    gr.Markdown("### Your data on this server")
    sentence(rules(), css="note", elem_id=ELEMENT)
    has = sentence(elem_id=f"{ELEMENT}-size")
    button = gr.Button("Delete my data and runs", variant="stop", size="sm", elem_classes=["primary-action"],
                       elem_id=f"{ELEMENT}-delete")
    when([tab.select, page.entered.change, page.source.change], held, None, has)
    button.click(delete, None, [page.source, page.job, has], **QUIET)


def held() -> str:
    """How much the visitor has here."""
    mine = visitors.folder()
    return f"You have {visitors.size(mine) / 1e6:,.1f} MB here." if mine else ""


@shows_user_errors
def delete() -> tuple[str, str, str]:
    """Delete all that the visitor has; the page goes back to a built-in task and no tuning."""
    visitors.own_folder()
    mine = visitors.owner()
    if any(job.owner == mine for job in JOBS.active()):
        raise UserError("A tuning of yours goes on or waits in line. Stop it in Tune first.")
    keeper.drop(mine)
    return "sprites-position", "", "Everything was deleted."
