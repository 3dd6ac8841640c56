"""A full disk and too little memory, in words: they are nobody's mistake in the program."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from vpt_core.errors import UserError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}
_NO_MEMORY = ("not enough memory", "out of memory", "can't allocate memory", "cannot allocate memory")  # torch says it so
_FULL = "The disk is full. Make room, then go on with this run; what finished before is kept."
_TOO_LARGE = (
    "There is not enough memory for this. Try smaller images, a smaller batch, fewer images or a smaller backbone; "
    "what finished before is kept."
)


@contextmanager
def shortages_in_words() -> Iterator[None]:
    """Turn a full disk and a lack of memory into a `UserError`; every other exception passes."""
    try:
        yield
    except (OSError, MemoryError, RuntimeError) as error:
        sentence = shortage(error)
        if not sentence:
            raise
        raise UserError(sentence) from error


def shortage(error: BaseException) -> str:
    """The sentence for an exception that a full disk or a lack of memory raised; empty for any other."""
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return _FULL
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return _TOO_LARGE
    words = str(error).lower()
    return _TOO_LARGE if isinstance(error, RuntimeError) and any(said in words for said in _NO_MEMORY) else ""
