"""A visitor's data set: a built-in task's name, or `import:` and the id of an upload. Ids are looked up, not trusted."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from app import settings, visitors
from app.results import cached_task
from vpt_core.errors import UserError
from vpt_core.tasks import TASKS, Task, import_classes, import_task, load_set
from vpt_core.tasks.hub_sets import PREFIX
from vpt_core.tasks.importer import Progress

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


def take_in(upload: Path, progress: Progress) -> str:
    """Import an uploaded archive and keep what was read from it; gives its source.

    Raises `UserError` with the reason of a refusal; then nothing is kept.
    """
    return _keep(lambda: replace(import_task(upload, limits=settings.LIMITS, progress=progress), title=upload.stem[:60]))


def take_classes(classes: Mapping[str, Sequence[Path]]) -> str:
    """As `take_in`, of image files class by class."""
    return _keep(lambda: import_classes(classes, "Your images", settings.LIMITS))


def take_from_hub(name: str, images: int, progress: Progress) -> str:
    """As `take_in`, of `images` images of a data set of the hub."""
    if not settings.HUB:
        raise UserError("This server does not fetch data sets from the hub. Load a zip of your images instead.")
    name = name.strip().removeprefix(PREFIX)
    if not name:
        raise UserError("Write the name of a data set, such as owner/name.")
    return _keep(lambda: load_set(f"{PREFIX}{name}@{images}", settings.LIMITS, progress))


def _keep(read: Callable[[], Task]) -> str:
    data = visitors.own_folder() / DATA
    visitors.check_room()
    task = read()
    id = secrets.token_hex(16)
    data.mkdir(parents=True, exist_ok=True)
    task.save(data / id)
    return f"import:{id}"
