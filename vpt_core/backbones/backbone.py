"""Backbone: a frozen vision transformer as a list of stages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property

import numpy as np
import torch
from timm.models import VisionTransformer
from torch import Tensor, nn

from vpt_core.backbones.cards import Card
from vpt_core.errors import UserError


def to_pixels(images: np.ndarray | Tensor) -> Tensor:
    """uint8 images (B, H, W, 3) to pixels (B, 3, H, W), float32 in [0, 1]. Raises TypeError for any other dtype."""
    if not isinstance(images, Tensor):
        images = torch.from_numpy(np.array(images, order="C"))  # a copy: torch takes no read-only or reversed arrays
    if images.dtype != torch.uint8:
        raise TypeError(f"images are {images.dtype}, not uint8")
    return images.permute(0, 3, 1, 2).float() / 255


class Backbone(nn.Module):
    """A timm `VisionTransformer`, frozen and in eval mode for ever, cut into stages [stem, block 1 ... block L, pool].

    Composed, the stages are timm's `forward_head(forward_features(x), pre_logits=True)` on normalised pixels.
    `vit` has no classifier, takes any image size that its patches divide, and drops nothing. d is `embed_dim`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, vit: VisionTransformer, card: Card) -> None:
        super().__init__()
        self.card = card
        self.name = card.name
        self.title = card.title
        self.reads = card.reads
        self.sizes = card.sizes
        self.default_size = card.default_size
        self.embed_dim: int = vit.embed_dim
        self.depth = len(vit.blocks)
        self.num_heads: int = next(m.num_heads for m in vit.blocks[0].modules() if hasattr(m, "num_heads"))
        self.patch_size: tuple[int, int] = vit.patch_embed.feat_ratio(as_scalar=False)
        self.num_prefix_tokens: int = vit.num_prefix_tokens
        self.has_class_token: bool = vit.has_class_token
        self.params = sum(p.numel() for p in vit.parameters())
        self.vit = vit
        for part in ("mean", "std"):
            statistics = torch.tensor(vit.pretrained_cfg[part], dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(part, statistics, persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Backbone:
        """Stay in eval mode, whatever `mode` says: a backbone is never trained as it is."""
        return super().train(False)

    @property
    def stages(self) -> list[Callable[[Tensor], Tensor]]:
        """`depth` + 2 functions: `stem`, one for each block ((B, N, d) -> (B, N, d)), `pool`."""
        return [self.stem, *self.vit.blocks, self.pool]

    def stem(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to tokens (B, num_prefix_tokens + gh * gw, d) with their position embedding."""
        vit = self.vit
        x = vit.patch_embed((pixels - self.mean) / self.std)  # (B, gh, gw, d)
        return vit.norm_pre(vit.patch_drop(vit._pos_embed(x)))

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, d) to one feature vector an image (B, d)."""
        vit = self.vit
        return vit.head_drop(vit.fc_norm(vit.pool(vit.norm(tokens))))

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to features (B, d)."""
        x = pixels
        for stage in self.stages:
            x = stage(x)
        return x

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless square images of `size` pixels a side divide into whole patches."""
        patch = self.card.patch
        if size >= patch and size % patch == 0:
            return
        below = size // patch * patch
        valid = f"{below} or {below + patch}" if size > patch else f"{patch} or more"
        raise UserError(f"{self.title} cuts images into patches of {patch} pixels; {size} is no multiple of that. Use {valid}.")

    def grid(self, size: int) -> tuple[int, int]:
        """Rows and columns of patches, (gh, gw), of an image of `size` pixels a side."""
        return self.vit.patch_embed.dynamic_feat_size((size, size))

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 (hex) over name, shape and float32 bytes of each tensor of timm's state dict, in order of name.

        The same for the same weights in every process, on every device, at every image size, and whether the file
        held 16 or 32 bits. Computed once, so ask the shared frozen copy, never one whose weights were trained.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.vit.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.to("cpu", torch.float32).contiguous().numpy())
        return digest.hexdigest()
