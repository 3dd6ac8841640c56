"""A frozen block with a backward written by hand: it keeps less for the backward, and computes nothing for what is frozen.

Autograd holds the joined keys and values of tokens and prompts beside their pieces, and adds up gradients one operation at
a time. Here only the gradients of the tokens and of the prompts' keys and values exist. Kept for them, a token and layer, in
multiples of embed_dim: x 1, q k v 3, what attention puts out 1, x2 1 and the hidden layer 4; or with `lean` x alone, from
which the backward computes the rest again. Under autocast all of it is in bfloat16 but x and x2. Attention and products go
the ways that `How` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from timm.layers import LayerScale
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.amp import custom_bwd, custom_fwd
from torch.autograd.function import once_differentiable

from vpt_core.methods.attending import attend, attend_backward, attend_backward_from
from vpt_core.methods.how import USUAL, How
from vpt_core.methods.keyed import added, can_key
from vpt_core.methods.packing import backwards, forwards
from vpt_core.shares import part_of, side_by_side

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


def frozen_blocks(blocks: Sequence[Block], x: Tensor, beside: Sequence[Tensor], how: How = USUAL) -> Tensor:
    """What `block_beside` of one block after the other computes, with the backward of this module.

    Tokens x (B, N, d); for each block keys and values of prompts (p, 2, H, D) that serve the whole batch, p may be 0:
    (B, N, d). Gradients flow to x and `beside`; the blocks' weights have to be frozen and their parts those of `can_freeze`.
    """
    return _Frozen.apply(x, tuple(blocks), how, *beside)


class _Frozen(torch.autograd.Function):
    """The images of a batch in parts: each goes through all blocks for itself, and so do its gradients on their way back.

    What is kept is a list for each part and block, its input first.
    """

    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx: Any, x: Tensor, blocks: tuple[Block, ...], how: How, *beside: Tensor) -> Tensor:
        keys, flows = [b.permute(1, 2, 0, 3) for b in beside], any(ctx.needs_input_grad)

        def through(x: Tensor) -> tuple[Tensor, list[Tensor]]:
            all_kept = []
            for block, (k, v) in zip(blocks, keys, strict=True):
                out, *kept = _forward(block, x, k, v, how)
                if flows:
                    all_kept += [x] if how.lean else [x, *kept]
                x = out
            return x, all_kept

        ctx.blocks, ctx.how, ctx.images = blocks, how, part_of(len(x))
        outs, kept = zip(*side_by_side(through, *((part,) for part in x.split(ctx.images))), strict=True)
        if flows and not ctx.needs_input_grad[0] and not how.lean:
            kept = [[None, *rest] for _, *rest in kept]  # nothing flows on to x
        ctx.save_for_backward(*beside, *chain.from_iterable(kept))
        return _whole(outs)

    @staticmethod
    @once_differentiable
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        blocks, how, on = ctx.blocks, ctx.how, ctx.needs_input_grad[0]
        beside, kept = ctx.saved_tensors[: len(blocks)], ctx.saved_tensors[len(blocks) :]
        keys = [b.permute(1, 2, 0, 3) for b in beside]

        def back(grad: Tensor | None, kept: Sequence[Tensor | None]) -> tuple[Tensor | None, list[Tensor]]:
            each, found = len(kept) // len(blocks), []
            for i in reversed(range(len(blocks))):
                (k, v), (x, *rest) = keys[i], kept[i * each : (i + 1) * each]
                if how.lean:
                    rest = _forward(blocks[i], x, k, v, how, to_the_end=False)[1:]
                grad, *of_keys = _backward(blocks[i], grad, x, k, v, rest, how, on or i > 0)
                found.append(torch.stack(of_keys).permute(2, 0, 1, 3))
            return grad, found[::-1]

        grads = grad.split(ctx.images)
        each = len(kept) // len(grads)
        keeps = [kept[i * each : (i + 1) * each] for i in range(len(grads))]
        of_x, of_beside = zip(*side_by_side(back, *zip(grads, keeps, strict=True)), strict=True)
        return _whole(of_x) if on else None, None, None, *map(sum, zip(*of_beside, strict=True))


def _whole(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _forward(block: Block, x: Tensor, k: Tensor, v: Tensor, how: How, to_the_end: bool = True) -> list[Tensor | None]:
    """The block's output (None unless `to_the_end`) and what the backward needs beside x."""
    attn, mlp = block.attn, block.mlp
    normed, *norm1 = _norm(block.norm1, x)
    q, *kv = forwards(attn.qkv, normed, how.packed).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
    told, sums = attend(how.attention, q, *_join(kv, k, v))
    x2 = added(x, block.ls1, forwards(attn.proj, told.transpose(1, 2).flatten(2), how.packed))
    normed, *norm2 = _norm(block.norm2, x2)
    hidden = forwards(mlp.fc1, normed, how.packed)
    out = added(x2, block.ls2, forwards(mlp.fc2, mlp.act(hidden), how.packed)) if to_the_end else None
    return [out, *norm1, q, *kv, told, sums, x2, *norm2, hidden]


def _backward(
    block: Block, grad: Tensor, x: Tensor | None, k: Tensor, v: Tensor, kept: list[Tensor], how: How, on: bool
) -> tuple[Tensor | None, Tensor, Tensor]:
    """Gradients of x (None unless `on`), k and v."""
    attn, mlp = block.attn, block.mlp
    mean1, rstd1, q, *kv, told, sums, x2, mean2, rstd2, hidden = kept
    grad_hidden = backwards(mlp.fc2, _scaled(block.ls2, grad), how.packed)
    torch.ops.aten.gelu_backward.grad_input(grad_hidden, hidden, grad_input=grad_hidden)
    grad_x2 = _through_norm(block.norm2, backwards(mlp.fc1, grad_hidden, how.packed), x2, mean2, rstd2).add_(grad)
    grad_told = backwards(attn.proj, _scaled(block.ls1, grad_x2), how.packed)
    grad_told = grad_told.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2)
    tokens = q.shape[2]
    found = grad_told, q, *_join(kv, k, v), told, sums
    if not on:
        return None, *(g.sum(0) for g in attend_backward_from(tokens, how.attention, *found))
    grads = attend_backward(how.attention, *found)
    into = q.new_empty(len(x), tokens, 3, *k.shape[::2])  # (B, N, 3, H, D)
    for place, g in enumerate(grads):
        into[:, :, place] = g[:, :, :tokens].transpose(1, 2)
    grad_x = _through_norm(block.norm1, backwards(attn.qkv, into.flatten(2), how.packed), x, mean1, rstd1).add_(grad_x2)
    return grad_x, *(g[:, :, tokens:].sum(0) for g in grads[1:])


def _join(kv: Sequence[Tensor], k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values of the tokens and of the prompts: (B, H, N + p, D) each."""
    if not k.shape[1]:
        return tuple(kv)
    return tuple(torch.cat([own, p.expand(len(own), -1, -1, -1)], dim=2) for own, p in zip(kv, (k, v), strict=True))


def _norm(norm: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.native_layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _through_norm(norm: nn.LayerNorm, grad: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Tensor:
    shape, only_x = list(norm.normalized_shape), [True, False, False]
    return _norm_backward(grad.to(x.dtype), x, shape, mean, rstd, norm.weight, norm.bias, only_x)[0]


def _scaled(scale: nn.Module, grad: Tensor) -> Tensor:
    return grad * scale.gamma if isinstance(scale, LayerScale) else grad
