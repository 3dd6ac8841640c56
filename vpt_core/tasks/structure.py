"""How many pieces a photo is made of, counted before a decoder goes through them one by one.

A JPEG, PNG or GIF of some megabytes can hold a million segments, chunks or comments, which pack to a few kilobytes and keep
Pillow busy for minutes (4 MB of GIF comments: 55 s). No camera or program writes such files.
"""

from __future__ import annotations

from collections.abc import Iterator

_FEW, _BYTES_EACH = 1_000, 2_000  # pieces that any file may have, and one more for so many bytes
_SCANS = 64  # times that a progressive JPEG may go over the picture; the usual ones need ten
_START_OF_SCAN = b"\xff\xda"


def too_fragmented(data: bytes) -> bool:
    """True for a photo of so many pieces that reading them would take long. Stops counting there; damage is the decoder's."""
    most = _FEW + len(data) // _BYTES_EACH
    if data.startswith(b"\xff\xd8"):
        return data.count(_START_OF_SCAN) > _SCANS or _more_than(most, _jpeg(data))
    if data.startswith(b"\x89PNG"):
        return _more_than(most, _png(data))
    return data.startswith(b"GIF8") and _more_than(most, _gif(data))


def _more_than(most: int, pieces: Iterator[None]) -> bool:
    return any(number >= most for number, _ in enumerate(pieces))


def _jpeg(data: bytes) -> Iterator[None]:
    """One for each segment before the first scan, and for each byte between segments."""
    at = 2
    while at + 4 <= len(data):
        yield
        if data[at] != 0xFF or data[at + 1] in (0x00, 0xFF):
            at += 1
        elif data[at + 1] == _START_OF_SCAN[1]:
            return
        elif data[at + 1] == 0x01 or 0xD0 <= data[at + 1] <= 0xD9:  # these stand alone
            at += 2
        else:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))


def _png(data: bytes) -> Iterator[None]:
    """One for each chunk: length, kind, content, sum."""
    at = 8
    while at + 8 <= len(data):
        yield
        at += 12 + int.from_bytes(data[at : at + 4], "big")


def _gif(data: bytes) -> Iterator[None]:
    """One for each part of what stands before the first picture: extensions, comments, stray bytes."""
    at = 13 + (3 << (data[10] & 7) + 1 if len(data) > 10 and data[10] & 0x80 else 0)  # behind the table of colours
    while at < len(data) and data[at : at + 1] not in (b",", b";"):
        yield
        if data[at : at + 1] != b"!":
            at += 1
            continue
        at += 2
        while at < len(data) and data[at]:
            yield
            at += 1 + data[at]
        at += 1
