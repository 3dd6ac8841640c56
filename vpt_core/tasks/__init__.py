"""Tasks: named classes with images. Built-in ones, saved ones, and any folder or zip of class folders."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from vpt_core.errors import UserError
from vpt_core.tasks.builtin import TASKS
from vpt_core.tasks.hub_sets import PREFIX, load_set
from vpt_core.tasks.images import STORE_SIZE, load_image, resize
from vpt_core.tasks.importer import import_classes, import_report, import_task
from vpt_core.tasks.limits import LIMITS, PAGE_LIMITS, Limits
from vpt_core.tasks.report import Report
from vpt_core.tasks.splits import Splits
from vpt_core.tasks.store import RECORD
from vpt_core.tasks.task import Task

ELSEWHERE = "elsewhere:"
"""Before the name of a task whose images are not here, in the spec of a run that was made elsewhere and loaded."""

__all__ = [
    "ELSEWHERE",
    "LIMITS",
    "PAGE_LIMITS",
    "STORE_SIZE",
    "TASKS",
    "Limits",
    "Report",
    "Splits",
    "Task",
    "import_classes",
    "import_report",
    "import_task",
    "load_image",
    "load_set",
    "load_task",
    "resize",
]


def load_task(source: str) -> Task:
    """The task that `source` names, under that name.

    `source`: a built-in task, `hub:NAME` (see `load_set`), a folder that `Task.save` wrote, or what `import_task` takes. A
    built-in name goes first; write ./stamps for a folder of that name. A server must not pass on a visitor's text: it can
    name any path.
    Raises `UserError` when it is none of these.
    """
    if source in TASKS:
        return TASKS[source].load()
    if source.startswith(PREFIX):
        return _fetched(source)
    if source.startswith(ELSEWHERE):
        raise UserError(f"The images of {source.removeprefix(ELSEWHERE)!r} are not here: this run was made elsewhere.")
    path = Path(source)
    if (path / RECORD).is_file():
        return replace(Task.load(path), name=source)
    if path.exists():
        return import_task(path, name=source)
    raise UserError(
        f"There is no task {source!r}. Give a built-in one ({', '.join(TASKS)}), "
        "hub:NAME, a saved task, or a folder or zip that holds a folder of images for each class."
    )


@lru_cache(maxsize=1)
def _fetched(source: str) -> Task:
    """The latest data set of the hub, for the runs of a comparison: its arrays are shared, so they are read-only."""
    task = load_set(source)
    for array in (task.pixels, task.labels, task.given):
        array.setflags(write=False)
    return task
