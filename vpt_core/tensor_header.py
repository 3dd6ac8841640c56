"""The header of a safetensors file: names, kinds and shapes of its tensors, checked before any of them is read.

Format: 8 bytes with the header's length, the header as JSON, then the tensors' bytes without gaps
(https://huggingface.co/docs/safetensors). The `safetensors` library reads the tensors; this decides whether it is asked to.
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpt_core.errors import UserError

MAX_HEADER = 16_000_000  # bytes; a description of the longest kind, escaped, and a few hundred tensors
MAX_TENSORS = 10_000

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32",
          "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool"}  # fmt: skip


@dataclass(frozen=True)
class Shape:
    """One tensor as the header has it; `kind` is torch's name, such as "float32"."""

    kind: str
    sizes: tuple[int, ...]

    def __str__(self) -> str:
        return f"torch.{self.kind} {self.sizes}"


class _Broken(Exception):
    """What is wrong with a header."""


def read_header(path: Path) -> tuple[dict[str, str], dict[str, Shape]]:
    """The texts of `path` and the shapes of its tensors. Reads the header only.

    Raises `UserError` when it is no safetensors file: lengths that lie, names twice, shapes and bytes that do not fit,
    bytes shared by tensors or used by none, JSON too deep or too large.
    """
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            length = _length(file.read(8), size)
            header = json.loads(file.read(length), object_pairs_hook=_once)
        return _texts(header), _shapes(header, size - 8 - length)
    except (_Broken, OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is not a valid safetensors file ({str(error)[:200]}).") from error


def _length(lead: bytes, size: int) -> int:
    if len(lead) < 8:
        raise _Broken("it is too short")
    length = struct.unpack("<Q", lead)[0]
    if length > size - 8:
        raise _Broken(f"its header should have {length:,} bytes, and the file has {size:,}")
    if length > MAX_HEADER:
        raise _Broken(f"its header has {length:,} bytes; {MAX_HEADER:,} are allowed at most")
    return length


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Broken("a name stands in its header twice")
    return found


def _texts(header: Any) -> dict[str, str]:
    if not isinstance(header, dict):
        raise _Broken("its header is not an object")
    texts = header.pop("__metadata__", {})
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise _Broken("its header holds something else than texts")
    return texts


def _shapes(header: dict[str, Any], room: int) -> dict[str, Shape]:
    """The tensors' shapes. Together they have to fill the `room` behind the header, each byte once."""
    if len(header) > MAX_TENSORS:
        raise _Broken(f"it holds {len(header):,} tensors; {MAX_TENSORS:,} are allowed at most")
    places, shapes = [], {}
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _Broken(f"{name[:80]} has no dtype, shape and data_offsets")
        places.append(_place(name, entry))
        shapes[name] = Shape(_NAMES[entry["dtype"]], tuple(entry["shape"]))
    end = 0
    for start, stop in sorted(places):
        if start != end:
            raise _Broken("its tensors overlap, or leave gaps")
        end = stop
    if end != room:
        raise _Broken(f"its tensors take {end:,} bytes, and the file holds {room:,}")
    return shapes


def _place(name: str, entry: dict[str, Any]) -> tuple[int, int]:
    kind, sizes, place = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _BYTES:
        raise _Broken(f"{name[:80]} is of the unknown kind {str(kind)[:40]!r}")
    if not _are_counts(sizes) or len(sizes) > 8 or not _are_counts(place) or len(place) != 2:
        raise _Broken(f"{name[:80]} has a shape or place that cannot be")
    if math.prod(sizes) * _BYTES[kind] != place[1] - place[0]:
        raise _Broken(f"{name[:80]} has a shape that does not fit its bytes")
    return place[0], place[1]


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**48 for value in values)
