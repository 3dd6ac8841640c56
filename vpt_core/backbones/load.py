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
from vpt_core.backbones import timm_models, weights
from vpt_core.backbones.backbone import Backbone
from vpt_core.backbones.cards import BACKBONES, Card
from vpt_core.backbones.families import wrap
from vpt_core.errors import UserError

_RANDOM, _FILE = ":random", ".safetensors"
_loaded: dict[Any, Backbone] = {}
_locks: dict[Any, threading.Lock] = {}


@dataclass(frozen=True)
class Availability:
    """Where the weights of a backbone are now, in a word and as a phrase to show."""

    kind: Literal["bundled", "cached", "download", "local", "missing"]
    text: str


@cache
def card(name: str) -> Card:
    """The card of a backbone: a row of `BACKBONES`, or any other model of timm (`timm/` may precede it).

    `:random` after the name asks for random weights, `:FILE.safetensors` for those of a local file. Raises `UserError`
    for what is unknown or not supported.
    """
    if name.endswith(_RANDOM):
        base = card(name.removesuffix(_RANDOM))
        title = f"{base.title}, random weights"
        return replace(base, name=base.name + _RANDOM, title=title, random=True, download_mb=0, bundled="")
    if name.endswith(_FILE):
        first, _, path = name.partition(":")
        base = card(first)
        title = f"{base.title}, weights of {Path(path).name}"
        return replace(base, name=f"{base.name}:{path}", title=title, source=path, download_mb=0, bundled="")
    if name in BACKBONES:
        return BACKBONES[name]
    full = timm_models.canonical(name)
    if full is None:
        raise _unknown(name)
    row = next((row for row in BACKBONES.values() if row.timm == full), None)
    return row or timm_models.describe(timm_models.build(full, device="meta"), full)


def names_file(name: str) -> bool:
    """True for a backbone whose weights the name asks to read from a local file."""
    return name.endswith(_FILE)


def without_folder(name: str) -> str:
    """The name of a backbone, of a path to its weights the file's own name alone: what strangers may read."""
    base, _, file = name.partition(":")
    return f"{base}:{Path(file).name}" if names_file(name) else name


def _unknown(name: str) -> UserError:
    close = get_close_matches(name, [*BACKBONES, *timm_models.names()], n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UserError(f"There is no backbone {name!r}.{hint} Choose one of: {', '.join(BACKBONES)}; or any "
                     "model of timm, such as vit_small_patch16_224.augreg_in21k.")


def load_backbone(name: str) -> Backbone:
    """The frozen backbone `name` (see `card`), on the CPU; the same object for every caller, also concurrent ones.

    Raises `UserError` for an unknown or unsupported name before anything is downloaded, and for weights that cannot be had.
    """
    found = card(name)
    key = (found.name, _identity(Path(found.source)) if found.source else None)
    with _locks.setdefault(key, threading.Lock()):
        if key not in _loaded:
            _loaded[key] = _load(found)
        return _loaded[key]


def _identity(path: Path) -> tuple[Path, int]:
    """What tells a file from another one, and from the same one written anew."""
    return path.resolve(), path.stat().st_mtime_ns if path.is_file() else 0


def _load(found: Card) -> Backbone:
    if found.random:
        return wrap(timm_models.build_random(found.timm, found.pool), found)
    path = _weight_file(found)
    if found.family == "vit":  # through 'meta', so that no random numbers are drawn only to be overwritten
        net = timm_models.build(found.timm, found.pool, device="meta").to_empty(device="cpu")
    else:  # others hold computed buffers besides their weights
        net = timm_models.build_random(found.timm, found.pool)
    weights.fill(net, weights.read(path), found, str(path))
    return wrap(net, found)


def _weight_file(found: Card) -> Path:
    if found.source:
        return Path(found.source)
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
    if found.source:
        return Availability("local", f"local file {Path(found.source).name}")
    if found.bundled:
        path = paths.ASSETS / found.bundled
        if not path.is_file():
            return Availability("missing", f"missing, should be at {path}")
        return Availability("bundled", f"bundled, {size}")
    if weights.cached(_repository(found)):
        return Availability("cached", f"cached, {size}")
    return Availability("download", f"download of {size}")
