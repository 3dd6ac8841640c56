"""The files of a tar or tar.gz, read member by member. Nothing is extracted: no member's name is used as a path."""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO

from vpt_core.errors import UserError
from vpt_core.tasks.archive import path_parts
from vpt_core.tasks.limits import Limits
from vpt_core.tasks.listing import Listing, TooMuch
from vpt_core.tasks.names import clean_name, decode_zip_names

HEAD = 512  # bytes that tell what a file is
_GZIP = b"\x1f\x8b"
_CHUNK = 1_000_000  # bytes that are unpacked at a time
_IN_MEMORY = 50_000_000  # bytes of an unpacked tar.gz; more go to a file that has no name and ends with the program
_EMPTY = tarfile.RECORDSIZE  # bytes of a tar of nothing as tools write it
_PADDING = 2_000  # bytes of a tar for each entry beside its content: a header, its long name, zeros to fill up


def is_tar(head: bytes) -> bool:
    """True for the first `HEAD` bytes of a tar, or of anything packed with gzip, whatever the file is called."""
    return head.startswith(_GZIP) or head[257:262] == b"ustar"


@contextmanager
def open_tar(source: Path, limits: Limits) -> Iterator[Listing]:
    """The listing of a tar or tar.gz, whose files can be read while the context lasts.

    Raises `UserError` when it is damaged, no tar inside, or unpacks to more than the limits allow.
    """
    name = clean_name(source.name)
    with source.open("rb") as packed, _unpacked(packed, name, limits) as file, _Guarded(file) as guarded:
        try:
            archive = tarfile.TarFile(fileobj=guarded, encoding="utf-8")
            members = _members(archive, name, limits)
            if not members and guarded.seek(0, io.SEEK_END) > _EMPTY:
                raise tarfile.ReadError("zeros and nothing else")
        except UserError:
            raise
        except (tarfile.TarError, ValueError, RuntimeError, EOFError, OSError, OverflowError) as error:
            raise UserError(f"{name} is damaged, or not a tar archive. Please make it again, or zip its folders.") from error
        guarded.most = sys.maxsize  # `Listing.read` bounds what is read of a member
        with archive:
            yield _list(archive, members, name, limits)


class _Guarded(io.RawIOBase):
    """Refuses to fetch much at once while headers are read: a long name says how long it is, and may lie."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.most = _CHUNK

    def read(self, size: int = -1, /) -> bytes:
        if size < 0 or size > self.most:
            raise ValueError("a header of an unlikely size")
        return self.file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()


@contextmanager
def _unpacked(packed: IO[bytes], name: str, limits: Limits) -> Iterator[IO[bytes]]:
    """The tar inside a gzip, or the file itself. Bytes count as they come out; what they would become is not believed."""
    plain = packed.read(2) != _GZIP
    packed.seek(0)
    if plain:
        yield packed
        return
    most = limits.total_bytes + _PADDING * limits.entries
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:
        try:
            with gzip.GzipFile(fileobj=packed) as stream:
                while chunk := stream.read(_CHUNK):
                    file.write(chunk)
                    if file.tell() > most:
                        raise TooMuch(f"{name} holds more than {limits.total_bytes / 1e6:,.0f} MB when unpacked. "
                                      "Shrink the images to 512 pixels or so, or use fewer of them.")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{name} is damaged or incomplete. Please copy or upload it again.") from error
        except OSError as error:
            raise UserError(f"{name} cannot be unpacked here ({error.strerror}). A zip needs no room for that.") from error
        file.seek(0)
        yield file


def _members(archive: tarfile.TarFile, name: str, limits: Limits) -> list[tarfile.TarInfo]:
    members: list[tarfile.TarInfo] = []
    for member in archive:
        members.append(member)
        if len(members) > limits.entries:
            raise TooMuch(f"{name} holds more than {limits.entries:,} files and folders. Use fewer of them.")
    return members


def _list(archive: tarfile.TarFile, members: Sequence[tarfile.TarInfo], name: str, limits: Limits) -> Listing:
    listing = Listing(name, limits)
    # Names that are not UTF-8 come with their bytes in surrogates; cp437 has a letter for each byte.
    stored = [member.name.encode("utf-8", "surrogateescape").decode("cp437") for member in members]
    names, encoding = decode_zip_names(stored)
    if encoding != "utf-8":
        listing.notes.append(f"The names in the archive are not UTF-8; they were read as {encoding.upper()}.")
    for member, path in zip(members, names, strict=True):
        if member.isdir():
            listing.add_folder(path_parts(path))
        else:
            listing.add(path_parts(path), partial(_open, archive, member), _refusal(member))
    return listing


def _refusal(member: tarfile.TarInfo) -> str:
    if member.issym() or member.islnk():
        return "a link, which is not followed; put the file itself there"
    return "" if member.isreg() and not member.issparse() else "not a plain file"


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise ValueError("not a plain file")
    return stream
