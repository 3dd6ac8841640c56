"""Knock-outs as files, so that what took minutes is computed once."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from vpt_core.analysis.knockout import Knockout, Removal
from vpt_core.errors import UserError
from vpt_core.files import write_whole

_ARRAYS = ("images", "labels", "whole", "without", "attention")


def save_knockout(found: Knockout, path: str | Path) -> None:
    """Write `found` to `path` (.safetensors), whole or not at all. Raises `OSError` when there is no room."""
    removals = [[one.layer, one.prompt, list(one.where.items())] for one in found.removals]
    arrays = {name: getattr(found, name).copy() for name in _ARRAYS}
    write_whole(Path(path), save(arrays, {"removals": json.dumps(removals)}))


def load_knockout(path: str | Path) -> Knockout:
    """What `save_knockout` wrote. Raises `UserError` when `path` holds no knock-out, or a damaged one."""
    try:
        with safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            removals = [Removal(layer, prompt, {i: tuple(gone) for i, gone in where})
                        for layer, prompt, where in json.loads(file.metadata()["removals"])]  # fmt: skip
        return Knockout(tuple(removals), **arrays)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        raise UserError(f"{Path(path).name} holds no knock-out, or is damaged. Delete it and knock out again.") from None
