"""A frozen block with a backward written by hand: it keeps less for the backward, and computes nothing for what is frozen.

Autograd holds the joined keys and values of tokens and prompts beside their pieces, and adds up gradients one operation at
a time. Here only the gradients of the tokens and of the prompts' keys and values exist. Kept for them, a token and layer, in
multiples of embed_dim: x 1, q k v 3, what attention puts out 1, x2 1 and the hidden layer 4; or with `lean` x alone, from
which the backward computes the rest again. Under autocast all of it is in bfloat16 but x and x2. Attention and products go
the ways that `How` says.
"""

from __future__ import annotations

from typing import Any

import torch
from timm.layers import LayerScale
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from vpt_core.methods.attending import attend, attend_backward
from vpt_core.methods.how import USUAL, How
from vpt_core.methods.keyed import added, can_key, project
from vpt_core.methods.packing import backwards, forwards

_norm_backward = torch.ops.aten.native_layer_norm_backward


def can_freeze(block: nn.Module) -> bool:
    """True for a standard block (`can_key`) of layer norms, exact GELU, and attention without norms or gate of its own."""
    if not can_key(block):
        return False
    attn, mlp = block.attn, block.mlp
    plain = all(isinstance(m, nn.Identity) for m in (attn.q_norm, attn.k_norm, attn.norm, mlp.norm)) and attn.gate is None
    norms = all(isinstance(m, nn.LayerNorm) and m.elementwise_affine for m in (block.norm1, block.norm2))
    scales = all(isinstance(m, nn.Identity | LayerScale) for m in (block.ls1, block.ls2))
    return plain and norms and scales and isinstance(mlp.act, nn.GELU) and mlp.act.approximate == "none"


def frozen_block(block: Block, x: Tensor, beside: Tensor, rows: int | None = None, how: How = USUAL) -> Tensor:
    """What `block_beside` computes, with the backward of this module.

    Tokens x (B, N, d), keys and values of prompts `beside` (p, 2, H, D) that serve the whole batch; the first `rows` tokens
    are computed (all by default): (B, rows, d). Gradients flow to x and `beside`; the block's weights have to be frozen
    and its parts those of `can_freeze`.
    """
    k, v = beside.permute(1, 2, 0, 3)
    return _Frozen.apply(x, k, v, block, x.shape[1] if rows is None else rows, how)


class _Frozen(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, x: Tensor, k: Tensor, v: Tensor, block: Block, rows: int, how: How) -> Tensor:
        out, *kept = _forward(block, x, k, v, rows, how)
        ctx.block, ctx.rows, ctx.how = block, rows, how
        first = not ctx.needs_input_grad[0]  # nothing flows on to x: it is kept for `lean` alone
        ctx.save_for_backward(None if first and not how.lean else x, k, v, *(() if how.lean else kept))
        return out

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, k, v, *kept = ctx.saved_tensors
        if ctx.how.lean:
            kept = _forward(ctx.block, x, k, v, ctx.rows, ctx.how, to_the_end=False)[1:]
        return *_backward(ctx.block, grad, x, k, v, kept, ctx.rows, ctx.how, ctx.needs_input_grad[0]), None, None, None


def _forward(
    block: Block, x: Tensor, k: Tensor, v: Tensor, rows: int, how: How, to_the_end: bool = True
) -> list[Tensor | None]:
    """The block's output (None unless `to_the_end`) and what the backward needs beside x."""
    attn, mlp = block.attn, block.mlp
    normed, *norm1 = _norm(block.norm1, x)
    q, kv = project(attn, normed, rows, how.packed)
    told, sums = attend(how.attention, q, *_join(kv, k, v))
    x2 = added(x[:, :rows], block.ls1, forwards(attn.proj, told.transpose(1, 2).flatten(2), how.packed))
    normed, *norm2 = _norm(block.norm2, x2)
    hidden = forwards(mlp.fc1, normed, how.packed)
    out = added(x2, block.ls2, forwards(mlp.fc2, mlp.act(hidden), how.packed)) if to_the_end else None
    return [out, *norm1, q, kv, told, sums, x2, *norm2, hidden]


def _backward(
    block: Block, grad: Tensor, x: Tensor | None, k: Tensor, v: Tensor, kept: list[Tensor], rows: int, how: How, on: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of x (None unless `on`), k and v."""
    attn, mlp = block.attn, block.mlp
    mean1, rstd1, q, kv, told, sums, x2, mean2, rstd2, hidden = kept
    grad_hidden = backwards(mlp.fc2, _scaled(block.ls2, grad), how.packed)
    torch.ops.aten.gelu_backward.grad_input(grad_hidden, hidden, grad_input=grad_hidden)
    grad_x2 = _through_norm(block.norm2, backwards(mlp.fc1, grad_hidden, how.packed), x2, mean2, rstd2).add_(grad)
    grad_told = backwards(attn.proj, _scaled(block.ls1, grad_x2), how.packed)
    grad_told = grad_told.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
    grad_q, *grad_kv = attend_backward(how.attention, grad_told, q, *_join(kv, k, v), told, sums)
    tokens = kv.shape[3]
    grad_k, grad_v = (g[:, :, tokens:].sum(0) for g in grad_kv)
    if not on:
        return None, grad_k, grad_v
    into = grad_q.new_empty(len(x), tokens, 3, *k.shape[::2])  # (B, N, 3, H, D)
    into[:, :rows, 0] = grad_q.transpose(1, 2)
    for place, g in enumerate(grad_kv, start=1):
        into[:, :, place] = g[:, :, :tokens].transpose(1, 2)
    weight, dim = attn.qkv.weight, attn.attn_dim
    if rows == tokens:
        grad_normed = backwards(attn.qkv, into.flatten(2), how.packed)
    else:
        grad_normed = into[:, :, 1:].flatten(2) @ weight[dim:]
        grad_normed[:, :rows] += into[:, :rows, 0].flatten(2) @ weight[:dim]
    grad_x = _through_norm(block.norm1, grad_normed, x, mean1, rstd1)
    grad_x[:, :rows] += grad_x2
    return grad_x, grad_k, grad_v


def _join(kv: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of the tokens and of the prompts: (B, H, N + p, D) each."""
    batch = kv.shape[1]
    return tuple(torch.cat([own, p.expand(batch, -1, -1, -1)], dim=2) for own, p in zip(kv, (k, v), strict=True))


def _norm(norm: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _through_norm(norm: nn.LayerNorm, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    shape, only_x = list(norm.normalized_shape), [True, False, False]
    return _norm_backward(grad.to(x.dtype), x, shape, mean, rstd, norm.weight, norm.bias, only_x)[0]


def _scaled(scale: nn.Module, grad: Tensor) -> Tensor:
    return grad * scale.gamma if isinstance(scale, LayerScale) else grad
