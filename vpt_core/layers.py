"""Layers in words: "all", "first 3", "last 3", "9-12", "1,6,12"."""

from __future__ import annotations

import re

from vpt_core.errors import UserError


def read_layers(text: str, depth: int) -> tuple[int, ...]:
    """Layer numbers, ascending, of the layers 1 to `depth` that `text` names. Raises `UserError` with what is allowed."""
    words = text.strip().lower()
    if words == "all":
        return tuple(range(1, depth + 1))
    ends = re.fullmatch(r"(first|last)\s+(\d{1,4})", words)
    if ends and 1 <= int(ends[2]) <= depth:
        count = int(ends[2])
        return tuple(range(1, count + 1)) if ends[1] == "first" else tuple(range(depth - count + 1, depth + 1))
    layers: set[int] = set()
    for part in words.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= depth:
            examples = f"first 3, last 3, 1-{depth} or 1,{depth}"
            raise UserError(f"Prompted layers is {text!r}; write all, or layers from 1 to {depth} such as {examples}.")
        layers.update(range(first, last + 1))
    return tuple(sorted(layers))
