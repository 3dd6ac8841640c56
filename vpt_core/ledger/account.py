"""What a set of tasks costs that share one frozen backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FLOAT32 = 4
"""Bytes of a number."""


@dataclass(frozen=True)
class Cost:
    """What one task costs besides the backbone: numbers learned, and bytes of its file.

    `whole`: the file is a backbone of its own, so that the task needs no frozen one.
    """

    learned: int
    bytes: int
    whole: bool = False


@dataclass(frozen=True)
class Entry:
    """A line of the ledger: numbers learned for all of `tasks` tasks, bytes of their files, bytes of everything that is
    kept (the files, and the frozen backbone if one is needed), and how many backbones that is."""

    name: str
    tasks: int
    learned: int
    bytes: int
    kept: int
    multiple: float


def entry(name: str, costs: Sequence[Cost], backbone_bytes: int) -> Entry:
    """The tasks of `costs` kept together: their files, and one frozen backbone where any of them needs it."""
    shared = 0 if all(cost.whole for cost in costs) else backbone_bytes
    files = sum(cost.bytes for cost in costs)
    kept = shared + files
    return Entry(name, len(costs), sum(cost.learned for cost in costs), files, kept, kept / backbone_bytes)


def ledger(files: dict[str, Cost], backbone_bytes: int) -> list[Entry]:
    """A line for each task alone, by its name, and where there are several one for all of them together."""
    lines = [entry(name, [cost], backbone_bytes) for name, cost in files.items()]
    if len(files) > 1:
        lines.append(entry(f"all {len(files)} together", list(files.values()), backbone_bytes))
    return lines


def table(lines: Sequence[Entry], heading: str, notes: Sequence[str] = ()) -> str:
    """The lines as text in columns under `heading`; `notes` is one more column, its own heading first."""
    rows = [(heading, "learned numbers", "files, MB", "with backbone, MB", "in backbones")]
    rows += [(e.name, f"{e.learned:,}", f"{e.bytes / 1e6:,.2f}", f"{e.kept / 1e6:,.2f}", f"{e.multiple:.2f}") for e in lines]
    if notes:
        rows = [(*row, note) for row, note in zip(rows, notes, strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    aligned = ([name.ljust(widths[0]), *map(str.rjust, rest, widths[1:])] for name, *rest in rows)
    return "\n".join("  ".join(row).rstrip() for row in aligned)
