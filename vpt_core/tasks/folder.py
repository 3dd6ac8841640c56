"""The files of a folder on disk. Links are never followed."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from vpt_core.tasks.limits import Limits
from vpt_core.tasks.listing import Listing
from vpt_core.tasks.names import clean_name

_LINK = "a link, which is not followed; put the file itself there"


def list_folder(source: Path, limits: Limits) -> Listing:
    """All files under `source`, in order of their paths."""
    listing = Listing(clean_name(source.resolve().name), limits)

    def unreadable(error: OSError) -> None:
        listing.skipped.append((os.path.relpath(error.filename, source), f"folder cannot be read ({error.strerror})"))

    for top, folders, files in os.walk(source, onerror=unreadable):
        folders.sort()
        here = Path(top)
        above = here.relative_to(source).parts
        for name in folders:
            if (here / name).is_symlink():
                listing.add((*above, name), partial(open, here / name, "rb"), _LINK)
            else:
                listing.add_folder((*above, name))
        for name in sorted(files):
            listing.add((*above, name), partial(open, here / name, "rb"), _not_plain(here / name))
    return listing


def _not_plain(file: Path) -> str:
    if file.is_symlink():
        return _LINK
    return "" if file.is_file() else "not a plain file"  # opening a pipe or a device could wait for ever
