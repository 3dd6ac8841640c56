"""Deep prompts as what they are: keys and values.

In VPT-deep the outputs at the prompt positions are thrown away before the next layer (paper, section 3.2). So of a
prompt a layer needs its key and its value alone; neither depends on the image, both are computed once for the batch.
The queries, attention rows and feed-forward of the prompts are never computed. The result is exact.
"""

from __future__ import annotations

import torch
from timm.layers import Attention, LayerScale
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from vpt_core.methods.packing import forwards


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

    `beside` is what `keys_and_values` gives of them: (B, p, 2, H, D), or (1, p, 2, H, D) for all images alike. With `rows`
    only the first so many tokens are computed: (B, rows, d). Where `mask` (B, 1, 1, N + p) is False nothing is looked at.
    timm.models.vision_transformer.Block is
    x + ls1(attn(norm1(x))), then x + ls2(mlp(norm2(x))); the backbone is in eval mode, so nothing drops.
    """
    x_norm = block.norm1(x)
    kept = x[:, :rows]
    x = added(kept, block.ls1, _attend(block.attn, x_norm, beside, kept.shape[1], mask))
    return added(x, block.ls2, block.mlp(block.norm2(x)))


def added(x: Tensor, scale: nn.Module, part: Tensor) -> Tensor:
    """x + scale(part), where scale is a block's `ls1` or `ls2`: a LayerScale's product and sum in one pass over memory."""
    return torch.addcmul(x, part, scale.gamma) if isinstance(scale, LayerScale) else x + scale(part)


def _attend(attn: Attention, x: Tensor, beside: Tensor, rows: int, mask: Tensor | None) -> Tensor:
    """timm.layers.Attention of the first `rows` tokens of x (B, N, d) over all of x and what stands beside."""
    batch = len(x)
    q, (k, v) = project(attn, x, rows)
    prompt_k, prompt_v = beside.expand(batch, -1, -1, -1, -1).permute(2, 0, 3, 1, 4)  # (B, H, p, D) each
    k, v = torch.cat([attn.k_norm(k), prompt_k], dim=2), torch.cat([v, prompt_v], dim=2)
    out = F.scaled_dot_product_attention(attn.q_norm(q), k, v, attn_mask=mask)
    out = attn.norm(out.transpose(1, 2).reshape(batch, rows, attn.attn_dim))
    if attn.gate is not None:
        out = out * attn.gate(x[:, :rows]).sigmoid()
    return attn.proj(out)


def project(attn: Attention, x: Tensor, rows: int, packed: bool = False) -> tuple[Tensor, Tensor]:
    """Queries (B, H, rows, D) of the first tokens of x (B, N, d); keys and values (2, B, H, N, D) of all.

    With packed weights (`forwards`) where all tokens are asked for.
    """
    heads, dim = attn.num_heads, attn.attn_dim
    if rows == x.shape[1]:
        qkv = forwards(attn.qkv, x, packed).unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        return qkv[0], qkv[1:]
    weight, bias = attn.qkv.weight, attn.qkv.bias
    q = F.linear(x[:, :rows], weight[:dim], None if bias is None else bias[:dim]).unflatten(-1, (heads, -1))
    kv = F.linear(x, weight[dim:], None if bias is None else bias[dim:]).unflatten(-1, (2, heads, -1))
    return q.transpose(1, 2), kv.permute(2, 0, 3, 1, 4)
