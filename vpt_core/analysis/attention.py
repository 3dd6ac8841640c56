"""Attention: what the read-out's query gives to prompts, patches and itself, in every layer and head."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from timm.layers import Attention as Attend
from timm.models.vision_transformer import Block
from torch import Tensor

from vpt_core.backbones import to_pixels
from vpt_core.errors import UserError
from vpt_core.methods import Frame, Prompted
from vpt_core.model import Model


@dataclass(frozen=True)
class Attention:
    """Attention of one image, L layers and H heads; over the last axes of the three parts each row sums to 1.

    patches     (L, H, gh, gw)
    to_prompts  for each layer (H, p), p = 0 where no prompts stand
    to_self     (L, H): [CLS] itself and registers
    query       whose attention it is: "[CLS]", or the mean over image tokens where the read-out is their mean
    """

    patches: np.ndarray
    to_prompts: list[np.ndarray]
    to_self: np.ndarray
    query: str


def attention_weights(block: torch.nn.Module, x: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head dim)) of a timm ViT block for the tokens (B, N, d) that enter it: (B, H, N, N).

    The same arithmetic as timm.layers.attention.Attention without the fused kernel; nothing is hooked or changed.
    Raises `UserError` for any other kind of block or attention: other arithmetic would show something else.
    """
    if type(block) is not Block or type(block.attn) is not Attend:
        raise UserError(
            f"Attention cannot be shown for this backbone: its blocks ({type(block).__name__}) are not timm's standard ones "
            "with standard attention. Choose another backbone."
        )
    attn = block.attn
    n, tokens = len(x), x.shape[1]
    qkv = attn.qkv(block.norm1(x)).reshape(n, tokens, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k = attn.q_norm(qkv[0]), attn.k_norm(qkv[1])
    return ((q * attn.scale) @ k.transpose(-2, -1)).softmax(dim=-1)


@torch.no_grad()
def read_attention(model: Model, pixels: np.ndarray) -> Attention:
    """Attention of the read-out's query in every layer for one image (S, S, 3) uint8 at the model's image size."""
    model.eval()
    backbone, stages = model.backbone, model.method.stages[: model.backbone.depth + 1]  # stem and blocks
    if backbone.family != "vit":
        raise UserError(f"Attention to prompts is shown for vision transformers only; {backbone.title} is none.")
    frame = model.method.options.width if isinstance(model.method, Frame) else 0
    grid = backbone.grid(pixels.shape[0] + 2 * frame)
    patches, to_prompts, to_self = [], [], []
    x = to_pixels(pixels[None])
    for i, stage in enumerate(stages):
        x = model.method.before(i, x)
        if i > 0:
            prompts = model.method.count_in(i) if isinstance(model.method, Prompted) else 0
            weights = attention_weights(stage, x)[0]  # (H, N, N)
            first = backbone.num_prefix_tokens + prompts
            row = weights[:, 0] if backbone.reads == "cls" else weights[:, first:].mean(dim=1)  # (H, N)
            patches.append(row[:, first:].reshape(-1, *grid))
            to_prompts.append(row[:, backbone.num_prefix_tokens : first].numpy())
            to_self.append(row[:, : backbone.num_prefix_tokens].sum(dim=1))
        x = stage(x)
    query = "[CLS]" if backbone.reads == "cls" else "the mean of the patches"
    return Attention(torch.stack(patches).numpy(), to_prompts, torch.stack(to_self).numpy(), query)
