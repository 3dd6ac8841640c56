"""The files of a zip, read member by member. Nothing is extracted and no member's name is used as a path."""

from __future__ import annotations

import io
import stat
import struct
import sys
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vpt_core.errors import UserError
from vpt_core.tasks.images import sniff
from vpt_core.tasks.limits import Limits
from vpt_core.tasks.listing import Listing, TooMuch
from vpt_core.tasks.names import clean_name, decode_zip_names

_ENCRYPTED, _UTF8 = 0x1, 0x800  # general purpose flags of a member
_LOCAL_HEADER = 30  # bytes before a member's name and data
_DIRECTORY_BYTES = 1_000  # of an archive's directory, for each entry allowed; the usual ones need a tenth
_OTHER_KINDS = ((b"7z\xbc\xaf\x27\x1c", "a 7z archive"), (b"Rar!", "a RAR archive"), (b"\xfd7zXZ", "an xz archive"),
                (b"BZh", "a bzip2 archive"))


class _Reader(io.BufferedReader):
    """Reads the archive file; refuses to fetch at once more than `most` bytes.

    `zipfile` fetches the whole directory at once, and parsing a huge one would exhaust the memory before it can be counted.
    """

    most: int

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most:
            raise TooMuch("The zip lists far too many files. Use fewer of them.")
        return super().read(size)


@contextmanager
def open_zip(source: Path, limits: Limits) -> Iterator[Listing]:
    """The listing of a zip, whose files can be read while the context lasts.

    Raises `UserError` when it is not a zip, damaged as a whole, wholly encrypted, or made to deceive.
    """
    with _Reader(io.FileIO(source)) as file:
        file.most = max(_DIRECTORY_BYTES * limits.entries, 1_000_000)
        try:
            archive = zipfile.ZipFile(file)
        except UserError:
            raise
        except UnicodeDecodeError as error:
            raise UserError(f"{clean_name(source.name)} has file names that cannot be read: they are marked as UTF-8 and are "
                            "not. Please zip the folders again, with another program.") from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, EOFError, struct.error) as error:
            raise UserError(_not_a_zip(source)) from error
        file.most = sys.maxsize  # `Listing.read` bounds what is read of a member
        with archive:
            yield _list(archive, clean_name(source.name), limits)


def _list(archive: zipfile.ZipFile, name: str, limits: Limits) -> Listing:
    members = archive.infolist()
    _refuse_overlap(members, name)
    files = [member for member in members if not _is_folder(member)]
    if files and all(member.flag_bits & _ENCRYPTED for member in files):
        raise UserError(f"{name} has a password. Please make one without.")
    listing = Listing(name, limits)
    for member, stored in zip(members, _names(members, listing), strict=True):
        parts = path_parts(stored)
        if _is_folder(member):
            listing.add_folder(parts)
        else:
            listing.add(parts, partial(archive.open, member), _refusal(member), member.file_size)
    return listing


def _names(members: Sequence[zipfile.ZipInfo], listing: Listing) -> list[str]:
    """The members' names, with those of an old tool decoded; says so in the notes when that took a guess."""
    unmarked = [member.orig_filename for member in members if not member.flag_bits & _UTF8]
    decoded, encoding = decode_zip_names(unmarked)
    if encoding == "gbk":
        listing.notes.append("The names in the zip were read as GBK, the encoding of Chinese Windows.")
    if encoding == "cp437":
        listing.notes.append("The zip does not say how its names are written; some may look garbled.")
    fixed = iter(decoded)
    return [member.orig_filename if member.flag_bits & _UTF8 else next(fixed) for member in members]


def _is_folder(member: zipfile.ZipInfo) -> bool:
    return member.filename.endswith("/")  # is_dir() fails on an empty name


def path_parts(stored: str) -> tuple[str, ...]:
    """Path components; the first is empty when the path is absolute. Old Windows tools wrote backslashes."""
    path = stored.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    return ("", *parts) if path.startswith("/") else parts


def _refusal(member: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(member.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "a link, which is not followed; put the file itself there"
    if kind not in (0, stat.S_IFREG):
        return "not a plain file"
    return "has a password" if member.flag_bits & _ENCRYPTED else ""


def _refuse_overlap(members: Sequence[zipfile.ZipInfo], name: str) -> None:
    """Members that share bytes unpack to far more than the archive holds; no honest tool makes them."""
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise UserError(f"{name} is damaged, or made to deceive: files in it overlap. Please make the zip again.")
        end = member.header_offset + _LOCAL_HEADER + member.compress_size


def _not_a_zip(source: Path) -> str:
    """What to tell about a file that does not open as a zip."""
    name = clean_name(source.name)
    with source.open("rb") as file:
        head = file.read(512)
    if not head:
        return f"{name} is empty (0 bytes). Please copy or upload it again."
    if head.startswith(b"PK"):
        return f"{name} is damaged or incomplete. Please copy or upload it again, or make the zip again."
    kind = next((kind for mark, kind in _OTHER_KINDS if head.startswith(mark)), "")
    if kind:
        return f"{name} is not a zip or tar.gz but {kind}. Please unpack it and zip its folders."
    what = "" if sniff(head) else " but a single image"
    return f"{name} is not a zip{what}. Put each class in its own folder and zip the folders."
