"""Prompts in a Swin transformer (paper, section 4.1 and appendix): they join every window of attention.

A prompt has no relative position bias and is never masked. It stands in every window; where its own output is carried on,
that is the mean over the windows. Patch merging goes on without prompts; carried ones are merged as three copies beside them.
In a layer whose prompts are replaced in the next, only their keys and values count: they are computed once for the batch,
exactly, and nothing else of the prompts is.
"""

from __future__ import annotations

from typing import Protocol

import torch
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock, WindowAttention, window_partition, window_reverse
from torch import Tensor
from torch.nn import functional as F

from vpt_core.methods.base import Stage


class InWindows(Protocol):
    """What `run_windows` asks of a method: its stages, the stages with prompts of their own, and these prompts."""

    stages: list[Stage]
    at: dict[int, int]

    def own(self, i: int) -> Tensor:
        """Prompts (p, width) of stage i."""


def run_windows(method: InWindows, x: Tensor, start: int, stop: int) -> Tensor:
    """What stage `stop` - 1 puts out, given what enters stage `start`, with the method's prompts in the windows."""
    prompts: Tensor | None = None  # (1, p, width), and (B, p, width) once they have seen images
    last = len(method.stages) - 2
    for i in range(start, stop):
        stage = method.stages[i]
        if i in method.at:
            prompts = method.own(i)[None]
        if prompts is None or not prompts.shape[1] or i > last:
            x = stage(x)
        elif isinstance(stage, PatchMerging):
            x, prompts = stage(x), merged(stage, prompts)
        else:
            carried = i < last and _next_block(method, i) not in method.at
            x, prompts = prompted_block(stage, x, prompts, carried)
    return x


def _next_block(method: InWindows, i: int) -> int:
    return i + 2 if isinstance(method.stages[i + 1], PatchMerging) else i + 1


def merged(stage: PatchMerging, prompts: Tensor) -> Tensor:
    """Prompts (B or 1, p, width) as patch merging makes them of four copies: (B or 1, p, 2 * width)."""
    return stage.reduction(stage.norm(torch.cat([prompts] * 4, dim=-1)))


def prompted_block(
    block: SwinTransformerBlock, x: Tensor, prompts: Tensor, carried: bool, empty: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The map x (B, H, W, C) as `block` puts it out, and so the prompts (B or 1, p, C) in its windows; None if not `carried`.

    Where `empty` (B, p) is True there is no prompt: nothing looks at this place, and what it puts out means nothing.
    timm.models.swin_transformer.SwinTransformerBlock is x + attn(norm1(x)) over (shifted) windows, then x + mlp(norm2(x)).
    """
    height, width = x.shape[1:3]
    windows, mask, padded = _windows(block, block.norm1(x))  # (B * nW, N, C)
    seen, told = _attend(block.attn, windows, block.norm1(prompts), mask, len(x), carried, empty)
    shape = (-1, *block.window_size, x.shape[-1])
    seen = window_reverse(seen.view(shape), block.window_size, *padded)[:, :height, :width]
    x = x + torch.roll(seen, block.shift_size, dims=(1, 2))
    x = x + block.mlp(block.norm2(x))
    if told is None:
        return x, None
    prompts = prompts + told
    return x, prompts + block.mlp(block.norm2(prompts))


def _windows(block: SwinTransformerBlock, x: Tensor) -> tuple[Tensor, Tensor | None, tuple[int, int]]:
    """The map (B, H, W, C) shifted, padded and cut into windows (B * nW, N, C); the mask (nW, N, N) and the padded size."""
    x = torch.roll(x, [-shift for shift in block.shift_size], dims=(1, 2))
    more = [-size % window for size, window in zip(x.shape[1:3], block.window_size, strict=True)]
    x = F.pad(x, (0, 0, 0, more[1], 0, more[0]))
    mask = block.get_attn_mask(x) if block.dynamic_mask else block.attn_mask
    return window_partition(x, block.window_size).flatten(1, 2), mask, tuple(x.shape[1:3])


def _attend(
    attn: WindowAttention, windows: Tensor, prompts: Tensor, mask: Tensor | None, batch: int, carried: bool,
    empty: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """Attention of windows (B * nW, N, C) over themselves and prompts (B or 1, p, C); where `carried`, the prompts' own, too.

    The latter is its mean over the windows. Prompts that are `empty` (B, p) are not looked at.
    """
    count, each = prompts.shape[1], len(windows) // batch  # window_partition puts the windows of one image together
    q, k, v = _heads(attn, windows)
    pq, pk, pv = _heads(attn, prompts).unsqueeze(2).expand(-1, -1, len(windows) // len(prompts), -1, -1, -1).flatten(1, 2)
    keys, values = torch.cat([pk, k], dim=2), torch.cat([pv, v], dim=2)
    bias = attn._get_rel_pos_bias()  # (1, H, N, N)
    if mask is not None:
        bias = (bias + mask.unsqueeze(1)).repeat(batch, 1, 1, 1)  # (B * nW, H, N, N)
    bias, shut = F.pad(bias, (count, 0)), None
    if empty is not None:
        shut = _shut(empty, windows)
        bias = bias + shut
    out = F.scaled_dot_product_attention(q, keys, values, attn_mask=bias)
    seen = attn.proj(out.transpose(1, 2).flatten(2))
    if not carried:
        return seen, None
    own = F.scaled_dot_product_attention(pq, keys, values, attn_mask=shut).transpose(1, 2).flatten(2)  # (B * nW, p, C)
    return seen, attn.proj(own.view(batch, each, count, -1).mean(dim=1))


def _shut(empty: Tensor, windows: Tensor) -> Tensor:
    """The bias (B * nW, 1, 1, p + N) of all queries that hides prompts which are `empty` (B, p) in windows (B * nW, N, C)."""
    bias = windows.new_zeros(empty.shape).masked_fill(empty, -torch.inf)
    return F.pad(bias, (0, windows.shape[1])).repeat_interleave(len(windows) // len(empty), dim=0)[:, None, None]


def _heads(attn: WindowAttention, x: Tensor) -> Tensor:
    """Queries, keys and values (3, B, H, N, D) of tokens (B, N, C)."""
    return attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
