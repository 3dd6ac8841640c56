"""What an import found: counts, what was left out and why, and what a person should know before training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from vpt_core.errors import UserError
from vpt_core.tasks.names import printable

SPLITS = ("train", "val", "test")
"""The splits a source may give; an image with '' is drawn into one of them by the seed."""

_SHOWN = 20  # skipped files that `text` names


@dataclass
class Report:
    """About one task.

    `classes`: class name to {split: images}, in the order of the labels, with '' for images of no given split.
    `skipped`: (file, reason). `warnings` can spoil a result; `notes` say what was understood or changed.
    """

    source: str
    classes: dict[str, dict[str, int]]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def images(self) -> int:
        return sum(sum(counts.values()) for counts in self.classes.values())

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values; `from_json` gives the same report back."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """The report in a saved task. Raises `UserError` when it is not one."""
        if not _is_report(data):
            raise UserError("This is not the report of an import; import the images again.")
        return cls(**{**data, "skipped": [(file, reason) for file, reason in data["skipped"]]})

    def text(self) -> str:
        """The lines a person reads in a terminal; names in them cannot steer it."""
        return "\n".join(printable(line) for line in self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.source}: {_count(self.images, 'image')} in {_count(len(self.classes), 'class', 'classes')}"
        for name, counts in self.classes.items():
            given = ", ".join(f"{counts[split]} {split}" for split in SPLITS if counts.get(split))
            yield f"  {name}: {sum(counts.values())}" + (f" ({given})" if given else "")
        yield from (f"Warning: {line}" for line in self.warnings)
        yield from self.notes
        if self.skipped:
            yield f"{_count(len(self.skipped), 'file')} skipped:"
        yield from (f"  {file}: {reason}" for file, reason in self.skipped[:_SHOWN])
        if len(self.skipped) > _SHOWN:
            yield f"  and {len(self.skipped) - _SHOWN} more"


def counts(classes: Sequence[str], labels: np.ndarray, given: np.ndarray) -> dict[str, dict[str, int]]:
    """`Report.classes` for images with `labels` (N,) and `given` splits (N,); splits without images are left out."""
    table: dict[str, dict[str, int]] = {}
    for label, name in enumerate(classes):
        splits, numbers = np.unique(given[labels == label], return_counts=True)
        table[name] = {str(split): int(number) for split, number in zip(splits, numbers, strict=True)}
    return table


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _is_report(data: Any) -> bool:
    return (
        isinstance(data, dict)
        and set(data) == {"source", "classes", "skipped", "warnings", "notes"}
        and isinstance(data["source"], str)
        and isinstance(data["classes"], dict)
        and all(_is_counts(counts) for counts in data["classes"].values())
        and isinstance(data["skipped"], list)
        and all(isinstance(pair, (list, tuple)) and len(pair) == 2 and _texts(pair) for pair in data["skipped"])
        and all(isinstance(data[name], list) and _texts(data[name]) for name in ("warnings", "notes"))
    )


def _is_counts(counts: Any) -> bool:
    return isinstance(counts, dict) and all(key in ("", *SPLITS) and type(n) is int and n >= 0 for key, n in counts.items())


def _texts(values: Any) -> bool:
    return all(isinstance(value, str) for value in values)
