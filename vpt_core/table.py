"""Tables of choices: a dict whose missing key answers with the choices."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

from vpt_core.errors import UserError

Row = TypeVar("Row")


class Table(dict[str, Row]):
    """Names to rows, in the order in which they are shown.

    Raises `UserError` on an unknown name, naming the close ones and all that exist.
    """

    def __init__(self, kind: str, rows: Mapping[str, Row]) -> None:
        super().__init__(rows)
        self.kind = kind

    def __missing__(self, name: object) -> Row:
        close = get_close_matches(str(name), self, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"There is no {self.kind} {str(name)!r}.{hint} Choose one of: {', '.join(self)}.")
