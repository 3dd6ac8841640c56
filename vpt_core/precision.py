"""Precision: whether matrices are multiplied in bfloat16, which some machines do much faster and others much slower."""

from __future__ import annotations

import time
from functools import cache

import torch

from vpt_core.device import CPU

FLOAT32, BFLOAT16, AUTO = "float32", "bfloat16", "auto"
WORTH = 1.3
"""How many times faster bfloat16 has to be before its rounding is taken into the bargain."""
_ROWS, _WIDTH, _HIDDEN = 512, 384, 1536  # one feed-forward product of a ViT-S on a few images


@cache
def bfloat16_gain(device: torch.device = CPU) -> float:
    """How many times faster `device` multiplies in bfloat16 than in float32; tried once, in some 0.1 s on a processor.

    About 0.1 on CPUs without instructions for it, where every product is emulated.
    """
    with torch.no_grad():
        x, weight = torch.randn(_ROWS, _WIDTH, device=device), torch.randn(_HIDDEN, _WIDTH, device=device)
        exact, rounded = (_seconds(x.to(kind), weight.to(kind)) for kind in (torch.float32, torch.bfloat16))
    return round(exact / rounded, 2)


def _seconds(x: torch.Tensor, weight: torch.Tensor) -> float:
    """The shortest of three, after one that does not count."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def choose_precision(asked: str, device: torch.device = CPU) -> str:
    """"float32" or "bfloat16": what is `asked`, and for "auto" bfloat16 where it is worth it on `device`."""
    if asked != AUTO:
        return asked
    return BFLOAT16 if bfloat16_gain(device) >= WORTH else FLOAT32
