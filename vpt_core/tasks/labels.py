"""A table of labels beside images: a CSV with a column of files and one of labels, where folders tell no classes."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from vpt_core.errors import UserError
from vpt_core.tasks.layout import Layout, Parts, split_of
from vpt_core.tasks.listing import File, Listing
from vpt_core.tasks.names import clean_name, shorten

MAX_BYTES = 20_000_000  # of the table; 100,000 rows with long paths need about 10 MB

_FILE = ("file", "filename", "file_name", "filepath", "file_path", "image", "image_name", "image_path", "image_id", "path",
         "img", "img_path", "name", "id")  # fmt: skip
_LABEL = ("label", "labels", "label_name", "class", "class_name", "classname", "category", "target", "breed", "species")
_SPLIT = ("split", "set", "subset", "partition", "fold")
_FIRST = "labels.csv"  # the one that is taken where there are several
_NAMED = 5  # examples in one sentence


@dataclass
class Table:
    """A table of labels: (label, split) for the path of a file; None for a file with two labels that differ."""

    path: str
    columns: list[str]
    rows: dict[Parts, tuple[str, str] | None] = field(default_factory=dict)
    unknown: set[str] = field(default_factory=set)  # words in the column of splits that name none


def find_table(listing: Listing) -> Table | None:
    """The table of labels that `listing` holds, or None. Raises `UserError` when there are several and none is labels.csv."""
    files = [file for file in listing.files if file.parts[-1].lower().endswith((".csv", ".tsv"))]
    files = [file for file in files if file.parts[-1].lower() == _FIRST] or files
    tables = [table for table in (_read(file, listing) for file in files) if table]
    if len(tables) > 1:
        named = ", ".join(table.path for table in tables[:_NAMED])
        raise UserError(f"{listing.source} holds {len(tables)} tables of labels ({named}). Keep one, or call it {_FIRST}.")
    return tables[0] if tables else None


def arrange_by(table: Table, paths: Sequence[Parts]) -> tuple[Layout, list[str]]:
    """Classes and splits of the images at `paths` by the table, and warnings about rows that name no image.

    A row may name a file by its path from anywhere up, with or without its ending.
    """
    places: list[tuple[str, str] | str] = [f"not in {table.path}"] * len(paths)
    known = _known(paths)
    missing = []
    for parts, row in table.rows.items():
        found = known.get(parts, [])
        if len(found) != 1:
            missing.append("/".join(parts))
        for i in found:
            places[i] = _place(table, row) if len(found) == 1 else f"{table.path} names several files so; write its path"
    notes = [f"The classes are those of {table.path} (columns {', '.join(table.columns)})."]
    if table.unknown:
        notes.append(f"Not the name of a split, so not used as one: {_list(sorted(table.unknown))}.")
    warned = [f"{table.path} names {len(missing)} files that are not images here: {_list(missing)}."] if missing else []
    return Layout(places, notes), warned


def _place(table: Table, row: tuple[str, str] | None) -> tuple[str, str] | str:
    if row is None:
        return f"has two labels in {table.path}"
    return row if row[0] else f"has no label in {table.path}"


def _known(paths: Sequence[Parts]) -> dict[Parts, list[int]]:
    """The images that each ending of a path may mean; a whole path means that one alone."""
    known: dict[Parts, list[int]] = defaultdict(list)
    for i, path in enumerate(paths):
        for parts in {path, (*path[:-1], path[-1].rpartition(".")[0] or path[-1])}:
            for start in range(len(parts)):
                known[parts[start:]].append(i)
    known.update({path: [i] for i, path in enumerate(paths)})
    return known


def _read(file: File, listing: Listing) -> Table | None:
    """The table in a file; None when it has not the columns. Raises `UserError` when it cannot be read."""
    data = listing.read(file, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise UserError(f"{file.path} is larger than {MAX_BYTES / 1e6:.0f} MB.")
    text = _decode(data)
    first = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    try:
        head = [name.strip().casefold().replace(" ", "_") for name in next(reader, [])]
        columns = [_column(head, names) for names in (_FILE, _LABEL, _SPLIT)]
        if columns[0] is None or columns[1] is None:
            return None
        table = Table(file.path, [shorten(head[i], 40) for i in columns if i is not None])
        _fill(table, reader, columns, listing.limits.entries)
    except csv.Error as error:
        raise UserError(f"{file.path} is damaged as a table ({error}). Please save it again as CSV.") from error
    return table


def _decode(data: bytes) -> str:
    for encoding in ("utf-8-sig", "gbk"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("cp1252", "replace")


def _column(head: Sequence[str], names: Iterable[str]) -> int | None:
    return next((head.index(name) for name in names if name in head), None)


def _fill(table: Table, rows: Iterable[list[str]], columns: Sequence[int | None], most: int) -> None:
    for number, row in enumerate(rows):
        if number >= most:
            raise UserError(f"{table.path} has more than {most:,} rows. Use fewer of them.")
        file, label, split = (row[i].strip() if i is not None and i < len(row) else "" for i in columns)
        parts = tuple(clean_name(part) for part in file.replace("\\", "/").split("/") if part not in ("", "."))
        if not parts:
            continue
        if split and not split_of(split):
            table.unknown.add(shorten(clean_name(split), 40))
        said = (clean_name(label) if label else "", split_of(split) if split else "")
        table.rows[parts] = said if table.rows.get(parts, said) == said else None


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(shorten(name, 60) for name in names[:_NAMED]) + more
