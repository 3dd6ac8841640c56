"""The table of backbones on offer, and what a person has to know to choose one. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vpt_core.table import Table

Reads = Literal["cls", "mean"]
"""Which tokens the feature vector is read from: [CLS], or the mean of the image tokens."""


@dataclass(frozen=True)
class Card:
    """One backbone as it is offered: its name here and in timm, its size, and what it learned from.

    `params` counts the backbone without a classifier. `download_mb` is the size of the weight file in MB (10^6
    bytes), with the classifier it may carry. `sizes` are the image sizes on offer, in pixels a side; any multiple
    of `patch` works. `bundled` is the weight file's path in the assets folder, empty for weights from the hub.
    `depth` counts the blocks. `pool` replaces the pooling that timm builds the model with, where the pretrained model
    has no read-out.
    """

    name: str
    title: str
    timm: str
    params: int
    download_mb: int
    patch: int
    trained_on: str
    reads: Reads
    sizes: tuple[int, ...]
    default_size: int
    note: str = ""
    bundled: str = ""
    pool: str = ""
    depth: int = 12
    random: bool = False

    @property
    def params_m(self) -> float:
        """Millions of parameters, rounded to one decimal."""
        return round(self.params / 1e6, 1)


_PATCH14 = dict(patch=14, sizes=(112, 168, 224, 336), default_size=224)
_PATCH16 = dict(patch=16, sizes=(112, 160, 224, 384), default_size=224)
_DINOV2 = dict(_PATCH14, trained_on="142 million curated images, without labels (DINOv2)", reads="cls")
_PAPER = dict(_PATCH16, trained_on="ImageNet-21k, with labels", reads="cls")
_AUGREG = dict(_PAPER, note="trained with more augmentation and regularisation than the paper's")
_REGISTERS = "four register tokens: cleaner attention maps"

_CARDS = (
    Card(
        "vit-s14-saliency", "ViT-S/14, saliency-trained", "vit_small_patch14_dinov2", 22_056_192, 44,
        14, "DINOv2, then saliency maps", "cls", (112, 168, 224), 112,
        note="bundled, works offline; saliency training has cost it some of DINOv2's accuracy",
        bundled="backbone/vit_small_patch14_saliency.fp16.safetensors",
    ),
    Card("vit-b16-in21k", "ViT-B/16, ImageNet-21k (the paper's)", "vit_base_patch16_224.orig_in21k", 85_798_656, 343, **_PAPER),
    Card("vit-s16-augreg", "ViT-S/16, ImageNet-21k (AugReg)", "vit_small_patch16_224.augreg_in21k", 21_665_664, 120, **_AUGREG),
    Card("vit-b16-augreg", "ViT-B/16, ImageNet-21k (AugReg)", "vit_base_patch16_224.augreg_in21k", 85_798_656, 410, **_AUGREG),
    Card("vit-l16-augreg", "ViT-L/16, ImageNet-21k (AugReg)", "vit_large_patch16_224.augreg_in21k",
         303_301_632, 1303, depth=24, **_AUGREG),
    Card("vit-s14-dinov2", "ViT-S/14, DINOv2", "vit_small_patch14_dinov2.lvd142m", 22_056_192, 88, **_DINOV2),
    Card("vit-b14-dinov2", "ViT-B/14, DINOv2", "vit_base_patch14_dinov2.lvd142m", 86_579_712, 346, **_DINOV2),
    Card("vit-l14-dinov2", "ViT-L/14, DINOv2", "vit_large_patch14_dinov2.lvd142m", 304_367_616, 1217, depth=24, **_DINOV2),
    Card("vit-s14-dinov2-reg", "ViT-S/14, DINOv2 with registers", "vit_small_patch14_reg4_dinov2.lvd142m",
         22_057_344, 88, note=_REGISTERS, **_DINOV2),
    Card("vit-b14-dinov2-reg", "ViT-B/14, DINOv2 with registers", "vit_base_patch14_reg4_dinov2.lvd142m",
         86_582_016, 346, note=_REGISTERS, **_DINOV2),
    Card("vit-l14-dinov2-reg", "ViT-L/14, DINOv2 with registers", "vit_large_patch14_reg4_dinov2.lvd142m",
         304_370_688, 1217, depth=24, note=_REGISTERS, **_DINOV2),
    Card(
        "vit-b16-mae", "ViT-B/16, MAE", "vit_base_patch16_224.mae", 85_798_656, 343,
        trained_on="ImageNet-1k, without labels (masked autoencoding)", reads="mean", pool="avg",
        note="prompts fare badly on masked autoencoders, far below full fine-tuning; weights are CC-BY-NC", **_PATCH16,
    ),
    # The quickgelu variant is the activation that OpenAI trained with; the weight file is the same.
    Card("vit-b16-clip", "ViT-B/16, CLIP (OpenAI)", "vit_base_patch16_clip_quickgelu_224.openai", 85_799_424, 345,
         trained_on="400 million images with captions", reads="cls", **_PATCH16),
)

BACKBONES: Table[Card] = Table("backbone", {card.name: card for card in _CARDS})
"""The backbones on offer, in the order in which they are shown; the first one is bundled and is the default."""
