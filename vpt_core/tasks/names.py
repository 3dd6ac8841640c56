"""Names that strangers wrote, made safe to show: on a page, in a terminal, beside each other."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LONGEST_NAME = 80  # characters of one class or file name that are kept

# Drawn as nothing although Unicode calls them letters or symbols: grapheme joiner, Hangul fillers, blank Braille.
_BLANK = {"\u034f", "\u115f", "\u1160", "\u2800", "\u3164", "\uffa0"}


def clean_name(name: str) -> str:
    """`name` composed (NFC), with single spaces, and without what cannot be seen: controls, zero-width and bidi marks.

    Two names that look the same because of such marks become equal. A name of nothing else becomes "unnamed".
    """
    composed = unicodedata.normalize("NFC", name)
    visible = (" " if char.isspace() else _visible(char) for char in composed)
    return " ".join("".join(visible).split()) or "unnamed"


def _visible(char: str) -> str:
    kind = unicodedata.category(char)
    if kind == "Cs":  # half a surrogate pair: a byte of a file name that is not text
        return "\ufffd"
    return "" if kind in ("Cc", "Cf") or char in _BLANK or "\ufe00" <= char <= "\ufe0f" else char


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """`name`, or its beginning and an ellipsis, in at most `longest` characters."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def shorten_all(names: Sequence[str]) -> list[str]:
    """Each of several different names shortened, and still different: "cccc…" and "cccc… (2)"."""
    short: list[str] = []
    for name in names:
        candidate, number = shorten(name), 1
        while candidate in short:
            number += 1
            ending = f"… ({number})"
            candidate = name[: LONGEST_NAME - len(ending)] + ending
        short.append(candidate)
    return short


def printable(text: str) -> str:
    """`text` on one line, with whatever could steer a terminal written as an escape such as \\x1b."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def natural(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Sorting key: digits count as numbers ("2" before "10"), case does not count unless all else is equal."""
    return [_part(part) for part in re.split(r"([0-9]+)", name.casefold()) if part], name


def _part(part: str) -> tuple[int, int, str]:
    digits = part.lstrip("0")
    return (0, len(digits), digits) if part[0] in "0123456789" else (1, 0, part)


def decode_zip_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Names that a zip stored without saying in which encoding, as `zipfile` reads them (cp437), and the encoding found.

    One archive has one encoding: UTF-8 where all names are, else GBK (Chinese Windows) where all names are and at least
    one lies in its common part, GB2312; without that proof a German or French cp437 name would turn Chinese.
    """
    raw = [name.encode("cp437") for name in names]
    if _all_decode(raw, "utf-8"):
        return [name.decode("utf-8") for name in raw], "utf-8"
    foreign = [name for name in raw if not name.isascii()]
    if _all_decode(raw, "gbk") and any(_all_decode([name], "gb2312") for name in foreign):
        return [name.decode("gbk") for name in raw], "gbk"
    return list(names), "cp437"


def _all_decode(raw: Sequence[bytes], encoding: str) -> bool:
    try:
        for name in raw:
            name.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
