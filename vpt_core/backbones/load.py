"""From a name to a frozen backbone: one copy in memory for each name, however many ask for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from timm import get_pretrained_cfg

from vpt_core import paths
from vpt_core.backbones import timm_vit, weights
from vpt_core.backbones.backbone import Backbone
from vpt_core.backbones.cards import BACKBONES, Card
from vpt_core.errors import UserError

_RANDOM = ":random"
_loaded: dict[Any, Backbone] = {}
_locks: dict[Any, threading.Lock] = {}


@dataclass(frozen=True)
class Availability:
    """Where the weights of a backbone are now, in a word and as a phrase to show."""

    kind: Literal["bundled", "cached", "download", "local", "missing"]
    text: str


@cache
def card(name: str) -> Card:
    """The card of a backbone: a row of `BACKBONES`, or any other `VisionTransformer` of timm (`timm/` may precede it).

    `:random` after the name asks for random weights. Raises `UserError` for what is unknown or not supported.
    """
    if name.endswith(_RANDOM):
        base = card(name.removesuffix(_RANDOM))
        title = f"{base.title}, random weights"
        return replace(base, name=base.name + _RANDOM, title=title, random=True, download_mb=0, bundled="")
    if name in BACKBONES:
        return BACKBONES[name]
    full = timm_vit.canonical(name)
    if full is None:
        raise _unknown(name)
    row = next((row for row in BACKBONES.values() if row.timm == full), None)
    return row or timm_vit.describe(timm_vit.build(full, device="meta"), full)


def _unknown(name: str) -> UserError:
    close = get_close_matches(name, [*BACKBONES, *timm_vit.names()], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UserError(f"There is no backbone {name!r}.{hint} Choose one of: {', '.join(BACKBONES)}; or any "
                     "VisionTransformer of timm, such as vit_small_patch16_224.augreg_in21k.")


def load_backbone(name: str, source: Path | None = None) -> Backbone:
    """The frozen backbone `name` (see `card`), on the CPU; the same object for every caller, also concurrent ones.

    `source` is a .safetensors file to take the weights from instead. Raises `UserError` for an unknown or
    unsupported name before anything is downloaded, and for weights that cannot be had.
    """
    found = card(name)
    if source is not None and found.random:
        raise UserError(f"{name} has random weights, so it takes none from {source}. Leave out {_RANDOM!r} or the file.")
    key = (found.name, source and _identity(source))
    with _locks.setdefault(key, threading.Lock()):
        if key not in _loaded:
            _loaded[key] = _load(found, source)
        return _loaded[key]


def _identity(path: Path) -> tuple[Path, int]:
    """What tells a file from another one, and from the same one written anew."""
    return path.resolve(), path.stat().st_mtime_ns if path.is_file() else 0


def _load(found: Card, source: Path | None) -> Backbone:
    if found.random:
        return Backbone(timm_vit.build_random(found.timm, found.pool), found)
    path = source or _weight_file(found)
    # Through 'meta', so that no random numbers are drawn only to be overwritten.
    vit = timm_vit.build(found.timm, found.pool, device="meta").to_empty(device="cpu")
    weights.fill(vit, weights.read(path), found, str(path))
    return Backbone(vit, found)


def _weight_file(found: Card) -> Path:
    if found.bundled:
        return paths.ASSETS / found.bundled
    return weights.download(_repository(found), found)


def _repository(found: Card) -> str:
    config = get_pretrained_cfg(found.timm)
    if config is None or not config.hf_hub_id:
        raise UserError(f"timm has no published weights for {found.timm}. Choose another backbone, or try it with random "
                        f"weights as {found.timm}{_RANDOM}.")
    return config.hf_hub_id


def availability(name: str) -> Availability:
    """Where the weights of `name` are now. Asks no network. Raises `UserError` where there are none."""
    found = card(name)
    size = f"{found.download_mb} MB"
    if found.random:
        return Availability("local", "random weights, nothing to download")
    if found.bundled:
        path = paths.ASSETS / found.bundled
        if not path.is_file():
            return Availability("missing", f"missing, should be at {path}")
        return Availability("bundled", f"bundled, {size}")
    if weights.cached(_repository(found)):
        return Availability("cached", f"cached, {size}")
    return Availability("download", f"download of {size}")
