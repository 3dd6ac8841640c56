"""A folder or zip of class folders becomes a task. Nothing is extracted or written, and all that is left out is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpt_core.errors import UserError
from vpt_core.tasks import checks
from vpt_core.tasks.archive import open_zip
from vpt_core.tasks.folder import list_folder
from vpt_core.tasks.images import HEAD, STORE_SIZE, decode, sniff
from vpt_core.tasks.layout import arrange
from vpt_core.tasks.limits import LIMITS, Limits
from vpt_core.tasks.listing import File, Listing, TooMuch
from vpt_core.tasks.names import clean_name, natural, shorten, shorten_all
from vpt_core.tasks.report import Report, counts
from vpt_core.tasks.task import Task

Progress = Callable[[int, int], None]
"""Called with (files done, files in all) while images are decoded."""


@dataclass(frozen=True)
class _Placed:
    """A file that is to become an image of a class (its full cleaned name) and of a given split ('' for none)."""

    file: File
    name: str
    split: str


def import_task(source: Path, name: str | None = None, limits: Limits = LIMITS, progress: Progress | None = None) -> Task:
    """The task in `source`, a folder or a .zip of class folders, possibly within train, val and test folders.

    `name`: what the task is called; by default as the source. The same source gives the same task. Its report lists each
    file that was not used, with the reason. Raises `UserError` when there are not two classes with an image each, or when
    a limit on the whole is exceeded.
    """
    with _open(source, limits) as listing:
        placed, notes = _place(_candidates(listing), listing)
        _check_amount(placed, limits, listing.source)
        kept, pixels = _decode(placed, listing, progress)
    names = sorted({item.name for item in kept}, key=natural)
    _check_classes(names, listing)
    classes = tuple(shorten_all(names))
    number = {full: label for label, full in enumerate(names)}
    title = shorten(clean_name(source.stem if source.is_file() else source.resolve().name))
    task = Task(
        name=name or title,
        title=title,
        group="own",
        about=f"{len(kept)} images in {len(classes)} classes, imported from {listing.source}.",
        classes=classes,
        pixels=pixels,
        labels=np.array([number[item.name] for item in kept], dtype=np.int64),
        given=np.array([item.split for item in kept], dtype="<U5"),
        names=tuple(item.file.path for item in kept),
        report=Report(listing.source, {}, listing.skipped, notes=[*listing.notes, *notes, *_merged(kept)]),
    )
    task.report.classes = counts(task.classes, task.labels, task.given)
    task.report.warnings += checks.left_out(listing.folders, {item.file.parts for item in kept})
    checks.complete(task)
    return task


@contextmanager
def _open(source: Path, limits: Limits) -> Iterator[Listing]:
    if source.is_dir():
        yield list_folder(source, limits)
    elif source.is_file():
        try:
            with open_zip(source, limits) as listing:
                yield listing
        except PermissionError as error:
            raise UserError(f"{source.name} cannot be read ({error.strerror}).") from error
    else:
        raise UserError(f"There is no folder and no zip file {str(source)!r}.")


def _candidates(listing: Listing) -> list[File]:
    """The files whose first bytes are those of an image, in natural order; the others go to the list of skipped files."""
    files = []
    for file in sorted(listing.files, key=lambda file: [natural(part) for part in file.parts]):
        try:
            reason = sniff(listing.read(file, HEAD))
        except TooMuch:
            raise
        except UserError as error:
            reason = str(error)
        if reason:
            listing.skipped.append((file.path, reason))
        else:
            files.append(file)
    if not files:
        raise UserError(f"There is no image in {listing.source} that can be used{_because(listing.skipped)}")
    return files


def _because(skipped: Sequence[tuple[str, str]]) -> str:
    """The most frequent reasons for skipping files, to end a sentence with."""
    if not skipped:
        return ". Put the images of each class in a folder of their own."
    files: dict[str, list[str]] = defaultdict(list)
    for file, reason in skipped:
        files[reason].append(file)
    common = sorted(files.items(), key=lambda item: -len(item[1]))[:3]
    listed = (f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''} ({reason})" for reason, names in common)
    return f": {'; '.join(listed)}{'; …' if len(files) > 3 else ''}."


def _place(files: list[File], listing: Listing) -> tuple[list[_Placed], list[str]]:
    layout = arrange([file.parts for file in files])
    placed = []
    for file, place in zip(files, layout.places, strict=True):
        if isinstance(place, str):
            listing.skipped.append((file.path, place))
        else:
            placed.append(_Placed(file, *place))
    return placed, layout.notes


def _check_amount(placed: list[_Placed], limits: Limits, source: str) -> None:
    """Before anything is decoded."""
    if len(placed) > limits.images:
        raise UserError(f"{source} holds {len(placed):,} images; {limits.images:,} are taken at most. Use fewer of them.")
    classes = len({item.name for item in placed})
    if classes > limits.classes:
        raise UserError(f"{source} holds {classes:,} classes; {limits.classes:,} are taken at most. Use fewer of them.")


def _decode(placed: list[_Placed], listing: Listing, progress: Progress | None) -> tuple[list[_Placed], np.ndarray]:
    """Those that decode, and their pixels (N, STORE_SIZE, STORE_SIZE, 3) uint8, class by class in order of file names."""
    order = sorted(placed, key=lambda item: natural(item.name))
    pixels = np.empty((len(order), STORE_SIZE, STORE_SIZE, 3), dtype=np.uint8)
    kept: list[_Placed] = []
    area = 0
    for done, item in enumerate(order, start=1):
        try:
            pixels[len(kept)], own = decode(listing.read(item.file, listing.limits.file_bytes + 1), listing.limits)
            kept.append(item)
            area += own
        except TooMuch:
            raise
        except UserError as error:
            listing.skipped.append((item.file.path, str(error)))
        if area > listing.limits.total_pixels:
            raise TooMuch(f"The images of {listing.source} are too large to decode together. Shrink them to 512 pixels or so.")
        if progress:
            progress(done, len(order))
    return kept, pixels[: len(kept)]


def _check_classes(names: list[str], listing: Listing) -> None:
    if not names:
        raise UserError(f"There is no image in {listing.source} that can be used{_because(listing.skipped)}")
    if len(names) == 1:
        skipped = f" Not used{_because(listing.skipped)}" if listing.skipped else ""
        raise UserError(f"Only one class (“{shorten(names[0])}”). Two or more are needed, each in its own folder.{skipped}")


def _merged(kept: list[_Placed]) -> list[str]:
    """A note for each class whose folders are written differently and look the same."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for item in kept:
        spellings[item.name].update(raw for raw, part in zip(item.file.raw, item.file.parts, strict=True) if part == item.name)
    return [
        f"{len(raws)} folders look the same, “{shorten(name)}”, but are written differently; they were taken as one class."
        for name, raws in spellings.items()
        if len(raws) > 1
    ]
