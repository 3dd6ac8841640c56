"""How frozen blocks are computed in training: ways that differ in time, memory and rounding alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn

from vpt_core.methods.attending import FLASH, PRODUCTS, attend, attend_backward
from vpt_core.methods.packing import backwards, can_pack, forwards
from vpt_core.precision import BFLOAT16

WORTH = 1.1
"""How many times faster another way than the usual one has to be before it is taken."""
_IMAGES, _TOKENS, _PROMPTS, _HEADS, _DIM = 4, 197, 50, 6, 64  # some images of a ViT-S/16 at 224 px
_WIDTH = _HEADS * _DIM


@dataclass(frozen=True)
class How:
    """`lean`: keep less, compute more. `attention`: a way of `attend`. `packed`: with the weights of `packing`."""

    lean: bool = False
    attention: str = FLASH
    packed: bool = False

    def __str__(self) -> str:
        others = [", attention as plain products"] * (self.attention == PRODUCTS) + [", weights packed"] * self.packed
        return "backward written by hand" + "".join(others)


USUAL = How()


def choose_how(precision: str, before: dict[str, Any] | None = None) -> How:
    """The faster ways of this processor, tried once; or those of the part of a run `before`, as far as this processor can.

    In float32 the usual ones, untried: neither other way was the faster one where it was measured, and a choice by the clock
    would give other last digits from one time to the next.
    """
    if before is not None:
        how = How(**before)
        return how if can_pack(torch.bfloat16) else replace(how, packed=False)
    if precision != BFLOAT16:
        return USUAL
    return How(attention=PRODUCTS if products_gain() >= WORTH else FLASH, packed=packing_gain() >= WORTH)


@cache
def products_gain(kind: torch.dtype = torch.bfloat16) -> float:
    """How many times faster attention is as products than by flash kernels, forward and backward."""
    q, grad = torch.randn(2, _IMAGES, _HEADS, _TOKENS, _DIM).to(kind)
    k, v = torch.randn(2, _IMAGES, _HEADS, _TOKENS + _PROMPTS, _DIM).to(kind)

    def both(way: str) -> Callable[[], object]:
        return lambda: attend_backward(way, grad, q, k, v, *attend(way, q, k, v))

    return _gain(both(FLASH), both(PRODUCTS))


@cache
@torch.no_grad()
def packing_gain(kind: torch.dtype = torch.bfloat16) -> float:
    """How many times faster a frozen layer is with packed weights, forward and backward; 0 where they cannot be packed."""
    if not can_pack(kind):
        return 0.0
    layer = nn.Linear(_WIDTH, 4 * _WIDTH).to(kind)
    x, grad = torch.randn(_IMAGES * _TOKENS, _WIDTH).to(kind), torch.randn(_IMAGES * _TOKENS, 4 * _WIDTH).to(kind)

    def both(packed: bool) -> Callable[[], object]:
        return lambda: (forwards(layer, x, packed), backwards(layer, grad, packed))

    return _gain(both(False), both(True))


def _gain(usual: Callable[[], object], other: Callable[[], object]) -> float:
    """Time of the one to time of the other: the shortest of four each, by turns."""
    times: list[list[float]] = [[], []]
    for _ in range(4):
        for run, taken in zip((usual, other), times, strict=True):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
    return round(min(times[0]) / min(times[1]), 2)
