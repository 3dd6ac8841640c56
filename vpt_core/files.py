"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

PART = ".part"
"""Ending of a file that is being written; one that is left over belongs to a program that was killed."""


def write_whole(path: Path, data: bytes) -> None:
    """Put `data` into `path`, which a reader, a kill and a power cut find as it was before or as it is then.

    Raises `OSError` when there is no room; then `path` is as before.
    """
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
