"""The files of a folder or an archive, before any of them is read: names cleaned, clutter left out, the unsafe refused."""

from __future__ import annotations

import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from vpt_core.errors import UserError
from vpt_core.tasks.limits import Limits
from vpt_core.tasks.names import clean_name, shorten

_CLUTTER_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini"}
_CLUTTER_FOLDERS = {"__macosx", "@eadir", "__pycache__", "$recycle.bin", "system volume information", ".git", ".svn",
                    ".ipynb_checkpoints", ".trashes", ".spotlight-v100", ".fseventsd", ".thumbnails", ".cache"}

# Whatever a damaged archive makes the standard library's readers raise.
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, RuntimeError,
           MemoryError)


@dataclass(frozen=True)
class File:
    """One file: the folders it lies in and its own name, as stored and cleaned, how to open it, and the bytes it claims."""

    raw: tuple[str, ...]
    parts: tuple[str, ...]
    open: Callable[[], BinaryIO]
    size: int = 0

    @property
    def path(self) -> str:
        """For people only; it names nothing on a disk."""
        return show(self.parts)


@dataclass
class Listing:
    """What a source holds. `folders` are all folders met, also those without a file."""

    source: str
    limits: Limits
    files: list[File] = field(default_factory=list)
    folders: set[tuple[str, ...]] = field(default_factory=set)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    entries: int = 0
    bytes_read: int = 0

    def add(self, raw: Sequence[str], opener: Callable[[], BinaryIO], reason: str = "", size: int = 0) -> None:
        """Take in one file with the path components `raw`, unless it is clutter, unsafe, or there is a `reason` to skip it.

        `size`: bytes that an archive says it has; 0 where nobody does. One that has fewer is damaged.
        """
        self._count()
        parts = tuple(clean_name(part) for part in raw)
        if _is_clutter(raw):
            return
        refusal = self._refusal(raw)
        if not refusal:
            self._note_folder(parts[:-1])
        if refusal or reason:
            self.skipped.append((show(parts), refusal or reason))
        else:
            self.files.append(File(tuple(raw), parts, opener, size))

    def add_folder(self, raw: Sequence[str]) -> None:
        """Take note of a folder, which may be empty."""
        self._count()
        if not _is_clutter(raw) and not self._refusal(raw):
            self._note_folder(tuple(clean_name(part) for part in raw))

    def read(self, file: File, size: int) -> bytes:
        """At most `size` leading bytes. Raises `UserError` with the bare reason when they cannot be had.

        Bytes count as they come out, whatever a header claims; `TooMuch` when all together exceed the limit.
        """
        try:
            with file.open() as stream:
                data = stream.read(size)
        except NotImplementedError as error:
            raise UserError("packed in a way that is not supported; use the usual zip (Deflate)") from error
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})" if error.strerror else "damaged") from error
        except _DAMAGE as error:
            raise UserError("damaged") from error
        if len(data) < min(size, file.size):  # zipfile does not say so
            raise UserError("damaged")
        self.bytes_read += len(data)
        if self.bytes_read > self.limits.total_bytes:
            raise TooMuch(
                f"{self.source} holds more than {self.limits.total_bytes / 1e6:,.0f} MB when unpacked. "
                "Shrink the images to 512 pixels or so, or use fewer of them."
            )
        return data

    def _count(self) -> None:
        self.entries += 1
        if self.entries > self.limits.entries:
            raise TooMuch(f"{self.source} holds more than {self.limits.entries:,} files and folders. Use fewer of them.")

    def _note_folder(self, parts: tuple[str, ...]) -> None:
        self.folders.update(parts[: i + 1] for i in range(len(parts)))

    def _refusal(self, raw: Sequence[str]) -> str:
        if not raw or not raw[0] or ".." in raw or re.match("[A-Za-z]:", raw[0]):
            return "unsafe path"
        if any("\0" in part for part in raw):
            return "unsafe name"
        if len(raw) - 1 > self.limits.depth:
            return f"more than {self.limits.depth} folders deep"
        return "in a hidden folder (its name begins with a dot)" if any(part.startswith(".") for part in raw[:-1]) else ""


class TooMuch(UserError):
    """A limit on the whole source is exceeded: one file less does not help."""


def show(parts: Sequence[str]) -> str:
    """A path for people, each of its names cut to a readable length."""
    if len(parts) > 6:
        parts = [*parts[:2], "…", *parts[-3:]]
    return "/".join(shorten(part) for part in parts) or "(no name)"


def _is_clutter(raw: Sequence[str]) -> bool:
    if not raw:
        return False
    name = raw[-1]
    hidden = name.startswith(".") and name not in (".", "..")
    return hidden or name.lower() in _CLUTTER_FILES or any(part.lower() in _CLUTTER_FOLDERS for part in raw)
