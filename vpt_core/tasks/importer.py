"""A folder, zip or tar of class folders becomes a task. Nothing is extracted or written, and all that is left out is named."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vpt_core.errors import UserError
from vpt_core.tasks import checks, tar
from vpt_core.tasks.archive import open_zip
from vpt_core.tasks.folder import list_folder
from vpt_core.tasks.images import HEAD, STORE_SIZE, decode, sniff
from vpt_core.tasks.labels import arrange_by, find_table
from vpt_core.tasks.layout import Layout, arrange
from vpt_core.tasks.limits import LIMITS, Limits
from vpt_core.tasks.listing import File, Listing, TooMuch
from vpt_core.tasks.names import clean_name, natural, shorten, shorten_all
from vpt_core.tasks.report import Report, counts
from vpt_core.tasks.tar import is_tar, open_tar
from vpt_core.tasks.task import Task, digest

Progress = Callable[[int, int], None]
"""Called with (files done, files in all) while images are decoded."""


@dataclass(frozen=True)
class Placed:
    """A file that is to become an image of a class (its full cleaned name) and of a given split ('' for none)."""

    file: File
    name: str
    split: str


def import_task(source: Path, name: str | None = None, limits: Limits = LIMITS, progress: Progress | None = None) -> Task:
    """The task in `source`, a folder, zip, tar or tar.gz of class folders, possibly within train, val and test folders;
    or of images in any folders and one CSV with their labels.

    `name`: what the task is called; by default as the source. The same source gives the same task. Its report lists each
    file that was not used, with the reason. Raises `UserError` when there are not two classes with an image each, or when
    a limit on the whole is exceeded.
    """
    title = shorten(clean_name(source.stem if source.is_file() else source.resolve().name))
    with _open(source, limits) as listing:
        return _task(listing, name, title, progress)


def import_report(source: Path, limits: Limits = LIMITS) -> Report:
    """The report of the task in `source`, for those who want no more: of the images only digests are kept, so the memory
    does not grow with their number. Raises `UserError` as `import_task` does.
    """
    with _open(source, limits) as listing:
        return _task(listing, None, "", None, keep=False).report


def import_classes(
    classes: Mapping[str, Sequence[Path]], title: str, limits: Limits = LIMITS, progress: Progress | None = None
) -> Task:
    """The task of image files that are given class by class; otherwise as `import_task`. `title` is its name too."""
    listing = Listing("the given files", limits)
    for name, files in classes.items():
        for file in files:
            listing.add((clean_name(name), file.name), partial(open, file, "rb"))
    return _task(listing, None, title, progress)


def _task(listing: Listing, name: str | None, title: str, progress: Progress | None, keep: bool = True) -> Task:
    placed, notes, warnings = _place(_candidates(listing), listing)
    listing.notes += notes
    return build(listing, placed, warnings, name, title, progress, keep)


def build(
    listing: Listing,
    placed: list[Placed],
    warnings: list[str],
    name: str | None,
    title: str,
    progress: Progress | None,
    keep: bool = True,
) -> Task:
    """The task of images that have their classes; without `keep` black ones, for its report. Raises `UserError` as
    `import_task` does.
    """
    _check_amount(placed, listing.limits, listing.source)
    kept, pixels, seen = _decode(placed, listing, progress, keep)
    names = sorted({item.name for item in kept}, key=natural)
    _check_classes(names, listing)
    classes = tuple(shorten_all(names))
    number = {full: label for label, full in enumerate(names)}
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
        report=Report(listing.source, {}, listing.skipped, warnings, [*listing.notes, *_merged(kept)]),
    )
    task.report.classes = counts(task.classes, task.labels, task.given)
    task.report.warnings += checks.left_out(listing.folders, {item.file.parts for item in kept})
    checks.complete(task, task.digests if keep else seen)
    return task


@contextmanager
def _open(source: Path, limits: Limits) -> Iterator[Listing]:
    if source.is_dir():
        yield list_folder(source, limits)
    elif source.is_file():
        with _opener(source)(source, limits) as listing:
            yield listing
    else:
        raise UserError(f"There is no folder, zip or tar {str(source)!r}.")


def _opener(source: Path) -> Callable[[Path, Limits], AbstractContextManager[Listing]]:
    """By what the file holds, not by its name."""
    try:
        with source.open("rb") as file:
            return open_tar if is_tar(file.read(tar.HEAD)) else open_zip
    except OSError as error:
        raise UserError(f"{source.name} cannot be read ({error.strerror}).") from error


def _candidates(listing: Listing) -> list[File]:
    """The files whose first bytes are those of an image, in natural order; the others go to the list of skipped files."""
    if not listing.entries:
        raise UserError(f"{listing.source} is empty. Put the images of each class in a folder of their own.")
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


def _place(files: list[File], listing: Listing) -> tuple[list[Placed], list[str], list[str]]:
    """The images that have a class, notes and warnings."""
    layout, warnings = _arrange(files, listing)
    placed = []
    for file, place in zip(files, layout.places, strict=True):
        if isinstance(place, str):
            listing.skipped.append((file.path, place))
        else:
            placed.append(Placed(file, *place))
    return placed, layout.notes, warnings


def _arrange(files: list[File], listing: Listing) -> tuple[Layout, list[str]]:
    """By folders; by a table of labels where folders do not tell two classes."""
    paths = [file.parts for file in files]
    try:
        layout = arrange(paths)
    except UserError:
        table = find_table(listing)
        if table is None:
            raise
    else:
        told = {place[0] for place in layout.places if not isinstance(place, str)}
        table = find_table(listing) if len(told) < 2 else None
        if table is None:
            return layout, []
    listing.skipped[:] = [(file, reason) for file, reason in listing.skipped if file != table.path]
    return arrange_by(table, paths)


def _check_amount(placed: list[Placed], limits: Limits, source: str) -> None:
    """Before anything is decoded."""
    if len(placed) > limits.images:
        raise UserError(f"{source} holds {len(placed):,} images; {limits.images:,} are taken at most. Use fewer of them.")
    classes = len({item.name for item in placed})
    if classes > limits.classes:
        raise UserError(f"{source} holds {classes:,} classes; {limits.classes:,} are taken at most. Use fewer of them.")


def _decode(
    placed: list[Placed], listing: Listing, progress: Progress | None, keep: bool
) -> tuple[list[Placed], np.ndarray, list[bytes]]:
    """Those that decode, class by class in order of file names; their pixels (N, STORE_SIZE, STORE_SIZE, 3) uint8, or
    without `keep` their digests beside black ones that take no room.
    """
    order = sorted(placed, key=lambda item: natural(item.name))
    shape = (STORE_SIZE, STORE_SIZE, 3)
    pixels = np.empty((len(order), *shape), np.uint8) if keep else np.broadcast_to(np.uint8(0), (len(order), *shape))
    kept: list[Placed] = []
    seen: list[bytes] = []
    area = 0
    for done, item in enumerate(order, start=1):
        try:
            image, own = decode(listing.read(item.file, listing.limits.file_bytes + 1), listing.limits)
            if keep:
                pixels[len(kept)] = image
            else:
                seen.append(digest(image))
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
    return kept, pixels[: len(kept)], seen


def _check_classes(names: list[str], listing: Listing) -> None:
    if not names:
        raise UserError(f"There is no image in {listing.source} that can be used{_because(listing.skipped)}")
    if len(names) == 1:
        skipped = f" Not used{_because(listing.skipped)}" if listing.skipped else ""
        raise UserError(f"Only one class (“{shorten(names[0])}”). Two or more are needed, each in its own folder.{skipped}")


def _merged(kept: list[Placed]) -> list[str]:
    """A note for each class whose folders are written differently and look the same."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for item in kept:
        spellings[item.name].update(raw for raw, part in zip(item.file.raw, item.file.parts, strict=True) if part == item.name)
    return [
        f"{len(raws)} folders look the same, “{shorten(name)}”, but are written differently; they were taken as one class."
        for name, raws in spellings.items()
        if len(raws) > 1
    ]
