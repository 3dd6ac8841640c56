"""The checkpoint of a run that goes on: one safetensors file with all that training needs to go on.

It holds what was learned so far, the best epoch's parameters, the optimizer's state, and the states of the generators; in its
header, as JSON, the epoch and which images and weights it belongs to. Nothing frozen is in it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vpt_core.errors import UserError
from vpt_core.files import write_whole
from vpt_core.prompt_file import About, save_prompt
from vpt_core.shortage import shortage
from vpt_core.train import State

SHARE = 0.05
"""Of the time, at most, goes into writing checkpoints: where epochs take milliseconds not each of them gets one."""
_KEY = "visual_prompt_tuning_checkpoint"


class Checkpoints:
    """Keeps a training on disk: `path` to go on from, `prompt` as a prompt file of the best epoch so far.

    `owner` says whose it is (fingerprint of the images, hash of the frozen weights): it is given back to no other.
    """

    def __init__(self, path: Path, prompt: Path, about: About, owner: dict[str, str]) -> None:
        self.path, self.prompt, self.about, self.owner = path, prompt, about, owner
        self._next = 0.0  # on the clock of time.monotonic
        self._kept: dict[str, Tensor] | None = None  # the best that `prompt` holds

    def keep(self, state: State) -> None:
        """Write what there is at the end of an epoch, each file whole or not at all; soon after the last time, nothing."""
        began = time.monotonic()
        if began < self._next:
            return
        if state.best is not None and state.best is not self._kept:
            save_prompt(self.prompt, state.model, self.about, state.best)
            self._kept = state.best
        save_checkpoint(self.path, state, self.owner)
        ended = time.monotonic()
        self._next = ended + (ended - began) * (1 / SHARE - 1)

    def restore(self, state: State) -> None:
        """Bring `state` to where the checkpoint was made, if there is one. Raises `UserError` when it is not this run's."""
        if self.path.exists():
            load_checkpoint(self.path, state, self.owner)


def save_checkpoint(path: Path, state: State, owner: dict[str, str]) -> None:
    """Write `state`, as it is between two epochs, to `path`, whole or not at all."""
    tensors = {f"model.{name}": t for name, t in state.model.state_dict().items()}
    tensors |= {f"best.{name}": t for name, t in (state.best or {}).items()}
    for i, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{i}.{name}": t for name, t in values.items()}
    tensors |= {f"generator.{name}": g.get_state() for name, g in _generators(state).items()}
    header = {"epoch": state.epoch, "seconds": state.seconds, "most": state.most, "owner": owner}
    write_whole(path, save({name: t.contiguous() for name, t in tensors.items()}, {_KEY: json.dumps(header)}))


def load_checkpoint(path: Path, state: State, owner: dict[str, str]) -> None:
    """Bring a fresh `state`, and its model, to what `save_checkpoint` wrote.

    Raises `UserError` when the file is damaged, of another model, or of another `owner`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_KEY])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (safe_open is no dict)
        if header["owner"] != owner:
            changed = " and ".join(name for name in owner if owner[name] != header["owner"].get(name))
            raise UserError(f"The {changed} changed since this run was broken off, so it cannot be gone on with. Tune anew.")
        _restore(state, tensors)
        state.epoch, state.seconds, state.most = (header[name] for name in ("epoch", "seconds", "most"))
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, UserError) or shortage(error):
            raise
        raise UserError(f"The checkpoint of this run cannot be used ({error}). Tune anew.") from error


def _restore(state: State, tensors: dict[str, Tensor]) -> None:
    groups: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "optimizer": {}, "generator": {}}
    for name, tensor in tensors.items():
        group, _, rest = name.partition(".")
        groups[group][rest] = tensor
    state.model.load_state_dict(groups["model"])
    state.best = groups["best"] or None
    moments: dict[int, dict[str, Any]] = {}
    for name, tensor in groups["optimizer"].items():
        number, _, rest = name.partition(".")
        moments.setdefault(int(number), {})[rest] = tensor
    settings = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": settings})
    for name, generator in _generators(state).items():
        generator.set_state(groups["generator"][name])


def _generators(state: State) -> dict[str, torch.Generator]:
    return {"order": state.order, "method": state.model.method.generator}
