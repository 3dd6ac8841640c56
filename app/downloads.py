"""Files on their way: those made for downloads, in a folder of this process, gone when it ends or when a visitor's data is
dropped; and Gradio's copies of these and of uploads.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from gradio.utils import get_upload_folder

_ALL = tempfile.TemporaryDirectory(prefix="vpt-downloads-")


def new_folder() -> Path:
    """A folder of its own for files that are about to be offered; Gradio serves copies of them."""
    return Path(tempfile.mkdtemp(dir=_ALL.name))


def csv_file(name: str, head: Sequence[str], lines: Iterable[Sequence[object]]) -> Path:
    """A CSV called `name` under the other downloads. Spreadsheets run text that begins like a formula; a quote in front makes
    it text again.
    """
    path = new_folder() / f"{name}.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *([_harmless(cell) for cell in line] for line in lines)])
    return path


def _harmless(cell: object) -> object:
    return re.sub(r"^[=+\-@\t\r]", r"'\g<0>", cell) if isinstance(cell, str) else cell


def trim(most: float, before: float) -> int:
    """Delete the oldest of Gradio's copies until the rest has `most` bytes, none that was written after `before` (seconds since
    1970): anybody can upload without end, and Gradio itself deletes by age alone. Gives how many were deleted.
    """
    found = []
    for file in Path(get_upload_folder()).rglob("*"):
        try:
            if file.is_file():
                found.append((file.stat().st_mtime, file.stat().st_size, file))
        except FileNotFoundError:
            continue
    left, gone = sum(size for _, size, _ in found), 0
    for written, size, file in sorted(found):
        if left <= most or written > before:
            break
        file.unlink(missing_ok=True)
        left, gone = left - size, gone + 1
    return gone


def clear() -> None:
    """Delete all of them. Who remembers their paths has to forget them first; what is still wanted is made again."""
    for folder in Path(_ALL.name).iterdir():
        shutil.rmtree(folder, ignore_errors=True)
