"""Files made for downloads: in a folder of this process, gone when it ends or when a visitor's data is dropped."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

_ALL = tempfile.TemporaryDirectory(prefix="vpt-downloads-")


def new_folder() -> Path:
    """A folder of its own for files that are about to be offered; Gradio serves copies of them."""
    return Path(tempfile.mkdtemp(dir=_ALL.name))


def clear() -> None:
    """Delete all of them. Who remembers their paths has to forget them first; what is still wanted is made again."""
    for folder in Path(_ALL.name).iterdir():
        shutil.rmtree(folder, ignore_errors=True)
