"""The matrix products of a step of VPT-deep: how many operations they are, and they alone to be timed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vpt_core.backbones import Backbone


def shapes(backbone: Backbone, tokens: int, batch: int, prompts: int) -> list[tuple[int, int, int, int]]:
    """The matrix products of a deep step's blocks, forward and backward: n products (rows, k) x (k, columns) each."""
    found, d = [], backbone.embed_dim
    first, last = backbone.layers[0], backbone.layers[-1]
    for i in backbone.layers:
        attn, mlp = backbone.stages[i].attn, backbone.stages[i].mlp
        rows = 1 if i == last else tokens
        linears = [(batch * rows, part.in_features, part.out_features) for part in (attn.proj, mlp.fc1, mlp.fc2)]
        linears += [(prompts, d, 2 * d)]
        projections = [(batch * tokens, d, 3 * d)] if rows == tokens else [(batch * rows, d, d), (batch * tokens, d, 2 * d)]
        found += [(1, m, k, n) for m, k, n in linears + projections]
        found += [(1, m, n, k) for m, k, n in linears + projections * (i != first)]  # nothing flows on from the first layer
        heads, dim, seen = batch * attn.num_heads, attn.head_dim, tokens + prompts
        scores, told = (heads, rows, dim, seen), (heads, rows, seen, dim)
        found += [scores, told, scores, told, (heads, seen, rows, dim), (heads, seen, rows, dim), scores]
    return found


def flops(backbone: Backbone, tokens: int, batch: int, prompts: int) -> int:
    """Floating point operations of `shapes`, two for each multiplication."""
    return sum(2 * n * rows * k * columns for n, rows, k, columns in shapes(backbone, tokens, batch, prompts))


def products(
    backbone: Backbone, tokens: int, batch: int, prompts: int, kind: torch.dtype = torch.float32
) -> Callable[[], None]:
    """The matrix products of a deep step alone, on numbers that are there already."""
    store: dict[tuple[int, ...], Tensor] = {}

    def numbers(*shape: int) -> Tensor:
        return store.setdefault(shape, torch.randn(shape).to(kind))

    pairs = [(numbers(n, m, k), numbers(n, k, c)) if n > 1 else (numbers(m, k), numbers(k, c))
             for n, m, k, c in shapes(backbone, tokens, batch, prompts)]  # fmt: skip

    @torch.no_grad()
    def run() -> None:
        for a, b in pairs:
            a @ b

    return run
