"""Data sets of the Hugging Face hub by name: `hub:NAME`. What is wanted, and how it becomes a task."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from vpt_core.errors import UserError
from vpt_core.tasks.importer import Placed, Progress, build
from vpt_core.tasks.limits import LIMITS, Limits
from vpt_core.tasks.listing import File, Listing
from vpt_core.tasks.names import clean_name
from vpt_core.tasks.task import Task

PREFIX = "hub:"
IMAGES = 1_000  # that are taken when the name does not say how many
_NAME = re.compile(r"hub:((?:[a-zA-Z0-9][\w.-]*/)?[a-zA-Z0-9][\w.-]*)(?::([\w.-]+))?(?:@(\d{1,6}))?", re.ASCII)


@dataclass(frozen=True)
class Wanted:
    """A repository of data sets, one configuration of it ('' for the first), and how many images are taken."""

    repository: str
    config: str
    images: int


@dataclass(frozen=True)
class Row:
    """One image as the hub has it: its bytes, its class ('' for none), its split and its number there."""

    data: bytes
    label: str
    split: str
    number: int


@dataclass(frozen=True)
class Sample:
    """Rows in the order in which they were read, what a person should know, and what could spoil a result."""

    rows: list[Row]
    notes: list[str]
    warnings: list[str]


def parse(source: str, limits: Limits = LIMITS) -> Wanted:
    """`hub:NAME`, `hub:NAME:CONFIG` or either with `@IMAGES`. Raises `UserError` when it is none of these."""
    match = _NAME.fullmatch(source.strip())
    if match is None or ".." in source:
        raise UserError(f"{source[:120]!r} does not name a data set of the hub. Write hub:owner/name, hub:owner/name:config or "
                        "hub:owner/name@2000, the last for 2000 images.")
    wanted = Wanted(match[1], match[2] or "", int(match[3]) if match[3] else min(IMAGES, limits.images))
    if not 2 <= wanted.images <= limits.images:
        raise UserError(f"{wanted.images:,} images were asked for; 2 to {limits.images:,} are possible.")
    return wanted


def load_set(source: str, limits: Limits = LIMITS, progress: Progress | None = None) -> Task:
    """A sample of the data set that `source` names (see `parse`), streamed, the same each time while the set is the same.

    Classes are taken evenly, given splits are kept. Raises `UserError` when the hub or the set cannot be had, when it has
    no column of images and one of labels, and as `import_task` does.
    """
    wanted = parse(source, limits)
    sample = _reader()(wanted, limits)
    listing = Listing(wanted.repository, limits)
    placed = []
    for row in sample.rows:
        parts = tuple(part for part in (row.split, clean_name(row.label), f"{row.number:06d}") if part)
        if row.label:
            file = File(parts, parts, partial(io.BytesIO, row.data))
            placed.append(Placed(file, clean_name(row.label), row.split))
        else:
            listing.skipped.append(("/".join(parts), "has no label"))
    listing.notes += sample.notes
    return build(listing, placed, sample.warnings, source, wanted.repository, progress)


def _reader() -> Callable[[Wanted, Limits], Sample]:
    """Imported where it is used: the library for it takes a second, and nothing else needs it."""
    try:
        from vpt_core.tasks.hub_reader import read_sample
    except ImportError as error:
        raise UserError(f"Data sets of the hub need the package {error.name!r}: pip install datasets.") from error
    return read_sample
