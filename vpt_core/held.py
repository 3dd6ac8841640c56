"""The files of a saved run in a stranger's zip, read with bounds; whatever is no good is a sentence that names the file."""

from __future__ import annotations

import io
import json
import math
from typing import Any, NoReturn

import numpy as np

from vpt_core.errors import UserError
from vpt_core.tasks.listing import File, Listing
from vpt_core.tasks.names import clean_name, shorten

MOST_TEXT = 8_000_000  # bytes of a record
MOST_COLUMNS = 8_192  # of an array; backbones are narrower


class Held:
    """The files of a run in a zip, by their path below the folder of its spec.json."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        tops = sorted((file.raw[:-1] for file in listing.files if file.raw[-1] == "spec.json"), key=len)
        if not tops:
            raise UserError(f"{listing.source} is not a saved run: there is no spec.json in it. Save makes such a zip.")
        self.files: dict[str, File] = {}
        for file in (file for file in listing.files if file.raw[: len(tops[0])] == tops[0]):
            name = "/".join(file.raw[len(tops[0]) :])
            if self.files.setdefault(name, file) is not file:
                self.refuse(clean_name(name), "is there twice")

    def refuse(self, name: str, why: str) -> NoReturn:
        raise UserError(f"{self.listing.source} cannot be loaded: {name} {why}. Save the run again where it was made.")

    def read(self, name: str, most: int) -> bytes:
        if name not in self.files:
            self.refuse(name, "is missing")
        try:
            data = self.listing.read(self.files[name], most + 1)
        except UserError as error:
            self.refuse(name, f"cannot be read ({error})")
        return data if len(data) <= most else self.refuse(name, f"has more than {most / 1e6:,.0f} MB")

    def json(self, name: str) -> dict[str, Any]:
        """The JSON object that a file is."""
        return self._parsed(name, [self.read(name, MOST_TEXT)])[0]

    def lines(self, name: str) -> list[dict[str, Any]]:
        """The JSON objects of a file, one a line."""
        return self._parsed(name, self.read(name, MOST_TEXT).splitlines())

    def _parsed(self, name: str, parts: list[bytes]) -> list[dict[str, Any]]:
        try:
            said = [json.loads(part) for part in parts]
        except (ValueError, RecursionError):
            self.refuse(name, "is not JSON")
        return said if all(isinstance(one, dict) for one in said) else self.refuse(name, "is not what a run writes")

    def array(self, name: str, rows: int) -> np.ndarray:
        """(rows, d) float32, finite. What the header claims is held against the bytes before anything is made of it."""
        data = self.read(name, 4 * MOST_COLUMNS * (rows + 1))
        file = io.BytesIO(data)
        try:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError
            shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
            if fortran or kind != np.float32 or len(shape) != 2 or shape[0] != rows or shape[1] < 1:
                raise ValueError
            array = np.frombuffer(data, np.float32, offset=file.tell()).reshape(shape)
        except Exception:  # numpy parses the header as Python text, which can fail in any way; all of them mean the same
            self.refuse(name, f"is not an array of {rows} rows of float32")
        return array if np.isfinite(array).all() else self.refuse(name, "holds numbers that are not finite")


def text(value: str) -> str:
    """A stranger's text, cleaned and cut."""
    return shorten(clean_name(value), 200)


def whole(value: Any) -> bool:
    """True for a whole number that a count may be."""
    return type(value) is int and 0 <= value < 2**53


def number(value: Any) -> bool:
    """True for a finite number."""
    return whole(value) or (type(value) is float and math.isfinite(value))
