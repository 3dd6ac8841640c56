"""Deep prompts as what they are: keys and values.

In VPT-deep the outputs at the prompt positions are thrown away before the next layer (paper, section 3.2). So of a
prompt a layer needs its key and its value alone; neither depends on the image, both are computed once for the batch.
The queries, attention rows and feed-forward of the prompts are never computed. The result is exact.
"""

from __future__ import annotations

import torch
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F


def can_key(block: nn.Module) -> bool:
    """True for timm's standard block with its standard attention; other kinds run with prompts as tokens."""
    return type(block) is Block and type(block.attn) is Attention


def keyed_block(block: Block, x: Tensor, prompts: Tensor, rows: int | None = None) -> Tensor:
    """What `block` puts out for tokens x (B, N, d) when prompts (p, d) stand beside them, the prompts' outputs left out.

    With `rows` only the first so many tokens are computed: (B, rows, d).
    """
    return block_beside(block, x, keys_and_values(block, prompts)[None], rows)


def keys_and_values(block: Block, prompts: Tensor) -> Tensor:
    """All that `block` needs of prompts (p, d) whose outputs are thrown away: (p, 2, H, D), keys then values of H heads."""
    attn = block.attn
    weight, bias = attn.qkv.weight[attn.attn_dim :], attn.qkv.bias
    own = F.linear(block.norm1(prompts), weight, None if bias is None else bias[attn.attn_dim :])
    k, v = own.view(-1, 2, attn.num_heads, attn.head_dim).unbind(1)
    return torch.stack([attn.k_norm(k), v], dim=1)


def block_beside(block: Block, x: Tensor, beside: Tensor, rows: int | None = None, mask: Tensor | None = None) -> Tensor:
    """As `keyed_block`, for what `keys_and_values` gives: `beside` (B, p, 2, H, D), or (1, p, 2, H, D) for all images alike.

    Where `mask` (B, 1, 1, N + p) is False nothing is looked at. timm.models.vision_transformer.Block is
    x + ls1(attn(norm1(x))), then x + ls2(mlp(norm2(x))); the backbone is in eval mode, so nothing drops.
    """
    x_norm = block.norm1(x)
    kept = x[:, :rows]
    x = kept + block.ls1(_attend(block.attn, x_norm, beside, kept.shape[1], mask))
    return x + block.ls2(block.mlp(block.norm2(x)))


def _attend(attn: Attention, x: Tensor, beside: Tensor, rows: int, mask: Tensor | None) -> Tensor:
    """timm.layers.Attention of the first `rows` tokens of x (B, N, d) over all of x and what stands beside."""
    batch, tokens = x.shape[:2]
    q, k, v = attn.qkv(x).view(batch, tokens, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)  # (B, H, N, D) each
    prompt_k, prompt_v = beside.expand(batch, -1, -1, -1, -1).permute(2, 0, 3, 1, 4)  # (B, H, p, D) each
    k, v = torch.cat([attn.k_norm(k), prompt_k], dim=2), torch.cat([v, prompt_v], dim=2)
    out = F.scaled_dot_product_attention(attn.q_norm(q[:, :, :rows]), k, v, attn_mask=mask)
    out = attn.norm(out.transpose(1, 2).reshape(batch, rows, attn.attn_dim))
    if attn.gate is not None:
        out = out * attn.gate(x[:, :rows]).sigmoid()
    return attn.proj(out)
