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

    With `rows` only the first so many tokens are computed: (B, rows, d). timm.models.vision_transformer.Block is
    x + ls1(attn(norm1(x))), then x + ls2(mlp(norm2(x))); the backbone is in eval mode, so nothing drops.
    """
    x_norm = block.norm1(x)
    kept = x[:, :rows]
    x = kept + block.ls1(_attend(block.attn, x_norm, block.norm1(prompts), kept.shape[1]))
    return x + block.ls2(block.mlp(block.norm2(x)))


def _attend(attn: Attention, x: Tensor, prompts: Tensor, rows: int) -> Tensor:
    """timm.layers.Attention of the first `rows` tokens of x (B, N, d) over all of x and over prompts (p, d)."""
    batch, tokens = x.shape[:2]
    q, k, v = attn.qkv(x).view(batch, tokens, 3, attn.num_heads, attn.head_dim).permute(2, 0, 3, 1, 4)  # (B, H, N, D) each
    weight, bias = attn.qkv.weight[attn.attn_dim :], attn.qkv.bias
    own = F.linear(prompts, weight, None if bias is None else bias[attn.attn_dim :])
    prompt_k, prompt_v = own.view(-1, 2, attn.num_heads, attn.head_dim).permute(1, 2, 0, 3)  # (H, p, D) each
    k = torch.cat([attn.k_norm(k), attn.k_norm(prompt_k).expand(batch, -1, -1, -1)], dim=2)
    v = torch.cat([v, prompt_v.expand(batch, -1, -1, -1)], dim=2)
    out = F.scaled_dot_product_attention(attn.q_norm(q[:, :, :rows]), k, v)
    out = attn.norm(out.transpose(1, 2).reshape(batch, rows, attn.attn_dim))
    if attn.gate is not None:
        out = out * attn.gate(x[:, :rows]).sigmoid()
    return attn.proj(out)
