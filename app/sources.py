"""A visitor's data set: a built-in task's name, or `import:` and the id of an upload. Ids are looked up, not trusted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app import visitors
from app.results import cached_task
from vpt_core.errors import UserError
from vpt_core.tasks import PAGE_LIMITS, TASKS, Task, import_task

DATA = "data"
"""The folder of imported data sets beside a visitor's runs."""
_IMPORT = re.compile(r"import:([0-9a-f]{32})")


def place(source: str) -> str:
    """What a `Spec` calls this data set. Raises `UserError` when it is none of the visitor's choices."""
    if source in TASKS:
        return source
    match = _IMPORT.fullmatch(source)
    mine = visitors.folder()
    folder = mine / DATA / match[1] if match and mine else None
    if folder is None or not folder.is_dir():
        raise UserError("This data set is not on this computer any more. Choose one in Data, or load your zip again.")
    return str(folder)


def task_of(source: str) -> Task:
    """The images of a visitor's data set. Raises `UserError` when it is gone."""
    return cached_task(place(source))


def take_in(upload: Path, progress: Callable[[int, int], None]) -> str:
    """Import an uploaded zip and keep what was read from it; gives its source.

    Raises `UserError` with the reason of a refusal; then nothing is kept.
    """
    data = visitors.own_folder() / DATA
    visitors.check_room()
    task = import_task(upload, limits=PAGE_LIMITS, progress=progress)
    id = secrets.token_hex(16)
    data.mkdir(parents=True, exist_ok=True)
    replace(task, title=upload.stem[:60]).save(data / id)
    return f"import:{id}"
