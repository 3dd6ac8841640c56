"""The matrix products of a step of VPT-deep: how many operations they are, and they alone to be timed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from timm.layers import Attention
from torch import Tensor

from vpt_core.backbones import Backbone

Shape = tuple[int, int, int, int]
"""n products (rows, k) x (k, columns)."""


def shapes(backbone: Backbone, tokens: int, batch: int, prompts: int) -> list[Shape]:
    """The matrix products of a deep step's blocks, forward and backward."""
    found, first, last = [], backbone.layers[0], backbone.layers[-1]
    for i in backbone.layers:
        attn, mlp = backbone.stages[i].attn, backbone.stages[i].mlp
        rows = batch * (1 if i == last else tokens)
        # As many gradients as products flow back through frozen weights.
        both = [(1, prompts, attn.qkv.in_features, 2 * attn.attn_dim)]
        both += [(1, rows, part.in_features, part.out_features) for part in (attn.proj, mlp.fc1, mlp.fc2)]
        qkv = [(1, rows, attn.qkv.in_features, 3 * attn.attn_dim)]
        both += _of_one_query(attn, batch) if i == last else qkv * (i != first)
        found += both + [(n, m, c, k) for n, m, k, c in both]
        found += qkv * (i == first)  # nothing flows on from it
        case = attn, tokens, batch, prompts
        found += _attention_of_one(*case) if i == last else _attention(*case, i == first)
    return found


def _of_one_query(attn: Attention, batch: int) -> list[Shape]:
    """Of [CLS] in the last layer: into the space of the tokens and back, instead of keys and values of all tokens."""
    heads, dim, d = attn.num_heads, attn.head_dim, attn.qkv.in_features
    return [(1, batch, d, heads * dim), (heads, batch, dim, d), (heads, batch, d, dim)]


def _attention_of_one(attn: Attention, tokens: int, batch: int, prompts: int) -> list[Shape]:
    """Scores and sums, over tokens and over prompts, and the gradients of either factor."""
    heads, dim, d = attn.num_heads, attn.head_dim, attn.qkv.in_features
    products = [(batch, heads, d, tokens), (batch, heads, tokens, d)]
    products += [(batch * heads, 1, dim, prompts), (batch * heads, 1, prompts, dim)]
    return products + [(n, m, c, k) for n, m, k, c in products] + [(n, k, m, c) for n, m, k, c in products]


def _attention(attn: Attention, tokens: int, batch: int, prompts: int, first: bool) -> list[Shape]:
    """Scores and sums; scores again, and gradients: in the first layer those of prompts alone."""
    heads, dim, seen = batch * attn.num_heads, attn.head_dim, tokens + prompts
    scores, sums, back = (heads, tokens, dim, seen), (heads, tokens, seen, dim), prompts if first else seen
    found = [scores, sums, *[(heads, tokens, dim, back)] * 2, *[(heads, back, tokens, dim)] * 2]
    return found if first else [*found, sums]


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
