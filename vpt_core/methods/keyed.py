"""Deep prompts as what they are: keys and values.

In VPT-deep the outputs at the prompt positions are thrown away before the next layer (paper, section 3.2). So of a
prompt a layer needs its key and its value alone; neither depends on the image, both are computed once for the batch.
The queries, attention rows and feed-forward of the prompts are never computed. The result is exact.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from timm.layers import Attention, LayerScale, Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F


def can_key(block: nn.Module) -> bool:
    """True for timm's standard block with its standard attention; other kinds run with prompts as tokens."""
    return type(block) is Block and type(block.attn) is Attention


def keys_and_values(block: Block, prompts: Tensor) -> Tensor:
    """All that `block` needs of prompts (p, d) whose outputs are thrown away: (p, 2, H, D), keys then values of H heads."""
    attn = block.attn
    weight, bias = attn.qkv.weight[attn.attn_dim :], attn.qkv.bias
    own = F.linear(block.norm1(prompts), weight, None if bias is None else bias[attn.attn_dim :])
    k, v = own.view(-1, 2, attn.num_heads, attn.head_dim).unbind(1)
    return torch.stack([attn.k_norm(k), v], dim=1)


def block_beside(block: Block, x: Tensor, beside: Tensor, rows: int | None = None, mask: Tensor | None = None) -> Tensor:
    """What `block` puts out for tokens x (B, N, d) when prompts stand beside them, the prompts' outputs left out.

    `beside` is what `keys_and_values` gives of them: (B, p, 2, H, D), or (1, p, 2, H, D) for all images alike; p may be 0.
    With `rows` only the first so many tokens are computed: (B, rows, d). Where `mask` (B, 1, 1, N + p) is False nothing is
    looked at. timm.models.vision_transformer.Block is x + ls1(attn(norm1(x))), then x + ls2(mlp(norm2(x))); the backbone is
    in eval mode, so nothing drops.
    """
    x_norm = block.norm1(x)
    kept = x[:, :rows]
    x = added(kept, block.ls1, _attend(block.attn, x_norm, beside, kept.shape[1], mask))
    return added(x, block.ls2, _feed_forward(block.mlp, block.norm2(x)))


def added(x: Tensor, scale: nn.Module, part: Tensor) -> Tensor:
    """x + scale(part), where scale is a block's `ls1` or `ls2`, in one pass; without gradients `part` is overwritten."""
    into = None if torch.is_grad_enabled() or part.dtype != x.dtype else part
    if isinstance(scale, LayerScale):
        return torch.addcmul(x, part, scale.gamma, out=into)
    return torch.add(x, scale(part), out=into)


def _feed_forward(mlp: nn.Module, x: Tensor) -> Tensor:
    """timm.layers.Mlp; without gradients its GELU works in place, on what is by far the largest tensor of a block."""
    if torch.is_grad_enabled() or type(mlp) is not Mlp or not isinstance(mlp.act, nn.GELU):
        return mlp(x)
    return mlp.fc2(mlp.norm(torch.ops.aten.gelu_(mlp.fc1(x), approximate=mlp.act.approximate)))


def _attend(attn: Attention, x: Tensor, beside: Tensor, rows: int, mask: Tensor | None) -> Tensor:
    """timm.layers.Attention of the first `rows` tokens of x (B, N, d) over all of x and what stands beside."""
    if rows < x.shape[1] and isinstance(attn.k_norm, nn.Identity):
        out = _attend_few(attn, x, beside, rows, mask)
    else:
        q, k, v = attn.qkv(x).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = attn.q_norm(q[:, :, :rows]), attn.k_norm(k)
        if beside.shape[1]:
            prompt_k, prompt_v = beside.expand(len(x), -1, -1, -1, -1).permute(2, 0, 3, 1, 4)  # (B, H, p, D) each
            k, v = torch.cat([k, prompt_k], dim=2), torch.cat([v, prompt_v], dim=2)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    out = attn.norm(out.transpose(1, 2).flatten(2))
    if attn.gate is not None:
        out = out * attn.gate(x[:, :rows]).sigmoid()
    return attn.proj(out)


def _attend_few(attn: Attention, x: Tensor, beside: Tensor, rows: int, mask: Tensor | None) -> Tensor:
    """What the queries of the first `rows` tokens find, (B, H, rows, D), without the keys and values of the tokens x.

    A query q meets the key W x + b as (q W) x + q b, and a sum of values a (V x + c) is V (a x) + c times the sum of a: with
    few queries both cost next to nothing, where the products W x and V x are a sixth of a block. In float32 at least.
    """
    kind, where = torch.promote_types(x.dtype, torch.float32), x.device.type
    with torch.autocast(where, enabled=False) if torch.amp.is_autocast_available(where) else nullcontext():
        x, beside = x.to(kind), beside.to(kind)
        weights = attn.qkv.weight.to(kind).unflatten(0, (3, attn.num_heads, -1))
        biases = x.new_zeros(weights.shape[:3]) if attn.qkv.bias is None else attn.qkv.bias.to(kind).view(weights.shape[:3])
        (w_q, w_k, w_v), (b_q, b_k, b_v) = weights, biases[:, :, None]  # w (H, D, d), b (H, 1, D)
        q = attn.q_norm(torch.einsum("brc,hdc->bhrd", x[:, :rows], w_q) + b_q) * attn.scale
        towards = torch.einsum("bhrd,hdc->bhrc", q, w_k)
        of_tokens = (towards.flatten(1, 2) @ x.mT).unflatten(1, q.shape[1:3]) + (q * b_k).sum(-1, keepdim=True)
        prompt_k, prompt_v = beside.permute(2, 0, 3, 1, 4)  # (B or 1, H, p, D) each
        scores = torch.cat([of_tokens, q @ prompt_k.mT], dim=-1)
        share = (scores if mask is None else scores.masked_fill(~mask, -torch.inf)).softmax(-1)
        tokens, prompts = share.tensor_split([x.shape[1]], dim=-1)
        gathered = (tokens.flatten(1, 2) @ x).view(towards.shape)
        return torch.einsum("bhrc,hdc->bhrd", gathered, w_v) + tokens.sum(-1, keepdim=True) * b_v + prompts @ prompt_v
