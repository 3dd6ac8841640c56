"""The table of backbones on offer, and what a person has to know to choose one. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vpt_core.table import Table

Reads = Literal["cls", "mean", "own"]
"""Where the features are read from: [CLS], the mean over the image, or in a way of the model's own."""
Family = Literal["vit", "swin", "conv", "other"]
"""How a model is built: `VisionTransformer`, `SwinTransformer`, `ConvNeXt` and `ResNet`, or anything else of timm."""


@dataclass(frozen=True)
class Card:
    """One backbone as it is offered: its name here and in timm, its size, and what it learned from.

    `params` counts the backbone without a classifier. `download_mb` is the size of the weight file in MB (10^6
    bytes), with the classifier it may carry. `sizes` are the image sizes on offer, in pixels a side; any multiple
    of `patch` works, from `smallest` on, unless the size is `fixed_size`. `bundled` is the weight file's path in the
    assets folder, empty for weights from the hub. `depth` counts the layers. `pool` replaces the pooling that timm
    builds the model with, where the pretrained model has no read-out. `source` is a local weight file.
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
    family: Family = "vit"
    fixed_size: bool = False
    random: bool = False
    source: str = ""

    @property
    def params_m(self) -> float:
        """Millions of parameters, rounded to one decimal."""
        return round(self.params / 1e6, 1)

    @property
    def smallest(self) -> int:
        """The smallest image size that works, in pixels a side."""
        return self.patch if self.family == "vit" else 32

    def tokens(self, size: int) -> int:
        """Image tokens at `size` pixels a side; for what is no ViT those of a ViT/16, whose work is alike."""
        return (size // (self.patch if self.family == "vit" else 16)) ** 2


_PATCH14 = dict(patch=14, sizes=(112, 168, 224, 336), default_size=224)
_PATCH16 = dict(patch=16, sizes=(112, 160, 224, 384), default_size=224)
_DINOV2 = dict(_PATCH14, trained_on="142 million curated images, without labels (DINOv2)", reads="cls")
_PAPER = dict(_PATCH16, trained_on="ImageNet-21k, with labels", reads="cls")
_AUGREG = dict(_PAPER, note="trained with more augmentation and regularisation than the paper's")
_REGISTERS = "four register tokens: cleaner attention maps"
_SWIN = dict(patch=4, sizes=(112, 160, 224), default_size=224, trained_on="ImageNet-22k, with labels", reads="mean",
             family="swin", note="prompts join every window of attention")  # fmt: skip
_CONV = dict(patch=1, sizes=(112, 160, 224), default_size=224, reads="mean", family="conv",
             note="no tokens: prompts are a frame of pixels")  # fmt: skip

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
    Card("vit-l16-in21k", "ViT-L/16, ImageNet-21k (the paper's)", "vit_large_patch16_224.orig_in21k",
         303_301_632, 1213, depth=24, **_PAPER),
    Card("vit-h14-in21k", "ViT-H/14, ImageNet-21k (the paper's)", "vit_huge_patch14_224.orig_in21k",
         630_764_800, 2523, depth=32, **_PATCH14, trained_on="ImageNet-21k, with labels", reads="cls"),
    Card("deit-b16-distilled", "DeiT-B/16, distilled", "deit_base_distilled_patch16_224.fb_in1k", 85_800_192, 350,
         **_PATCH16, trained_on="ImageNet-1k, with labels and a teacher", reads="cls",
         note="reads the mean of the class and distillation tokens"),
    Card(
        "vit-b16-mae", "ViT-B/16, MAE", "vit_base_patch16_224.mae", 85_798_656, 343,
        trained_on="ImageNet-1k, without labels (masked autoencoding)", reads="mean", pool="avg",
        note="prompts fare badly on masked autoencoders, far below full fine-tuning; weights are CC-BY-NC", **_PATCH16,
    ),
    # The quickgelu variant is the activation that OpenAI trained with; the weight file is the same.
    Card("vit-b16-clip", "ViT-B/16, CLIP (OpenAI)", "vit_base_patch16_clip_quickgelu_224.openai", 85_799_424, 345,
         trained_on="400 million images with captions", reads="cls", **_PATCH16),
    Card("swin-t", "Swin-T, ImageNet-22k", "swin_tiny_patch4_window7_224.ms_in22k", 27_519_354, 177, **_SWIN),
    Card("swin-s", "Swin-S, ImageNet-22k", "swin_small_patch4_window7_224.ms_in22k", 48_837_258, 263, depth=24, **_SWIN),
    Card("swin-b", "Swin-B, ImageNet-22k (the paper's)", "swin_base_patch4_window7_224.ms_in22k", 86_743_224, 437, depth=24,
         **_SWIN),
    Card("convnext-b", "ConvNeXt-B, ImageNet-22k (the paper's)", "convnext_base.fb_in22k", 87_566_464, 440, depth=36, **_CONV,
         trained_on="ImageNet-22k, with labels"),
    Card("resnet50", "ResNet-50, ImageNet-1k (the paper's)", "resnet50.tv_in1k", 23_508_032, 102, depth=16, **_CONV,
         trained_on="ImageNet-1k, with labels"),
)

BACKBONES: Table[Card] = Table("backbone", {card.name: card for card in _CARDS})
"""The backbones on offer, in the order in which they are shown; the first one is bundled and is the default."""
