"""Which of timm's models can be a backbone, and how they are built: without a classifier, for every image size."""

from __future__ import annotations

import torch
from timm import create_model, get_pretrained_cfg, list_models
from timm.models import VisionTransformer

from vpt_core.backbones.cards import Card, Reads
from vpt_core.errors import UserError

# The modules of timm whose models are of the class VisionTransformer.
_MODULES = ("vision_transformer", "deit", "vision_transformer_hybrid")
_READS: dict[str, Reads] = {"token": "cls", "avg": "mean"}
_SUPPORTED = "Supported are the VisionTransformers of timm that read out [CLS] or the mean of the image tokens"


def names() -> list[str]:
    """Every architecture and every pretrained model of timm that can be asked for, supported read-out or not."""
    return [name for module in _MODULES for tagged in (False, True) for name in list_models(module=module, pretrained=tagged)]


def canonical(name: str) -> str | None:
    """timm's full name, `architecture.tag`, of a model; None when timm has no such model."""
    name = name.removeprefix("timm/")
    architecture, _, tag = name.partition(".")
    if architecture not in list_models(architecture):  # timm's own check would let its retired names pass
        return None
    default = ".".join(filter(None, (architecture, get_pretrained_cfg(architecture).tag)))
    if not tag or name == default:
        return default
    return name if name in list_models(f"{architecture}.*", pretrained=True) else None


def build(name: str, pool: str = "", device: str = "cpu") -> VisionTransformer:
    """timm's model `name` without classifier, any image size, zero drop rates; random weights (none on 'meta').

    Raises `UserError` when it is not a `VisionTransformer` or has a read-out other than [CLS] or mean.
    """
    if not any(name.partition(".")[0] in list_models(module=module) for module in _MODULES):
        raise UserError(f"{name} of timm is not a VisionTransformer. {_SUPPORTED}, such as vit_small_patch16_224.augreg_in21k.")
    vit = create_model(name, num_classes=0, dynamic_img_size=True, device=device, global_pool=pool or None)
    if type(vit) is not VisionTransformer:
        raise UserError(f"{name} is a {type(vit).__name__}, which reads more than one token out. {_SUPPORTED}.")
    if vit.global_pool not in _READS:
        raise UserError(f"{name} reads its features out by {vit.global_pool or 'no'!r} pooling. {_SUPPORTED}.")
    return vit


def build_random(name: str, pool: str = "") -> VisionTransformer:
    """`build` with the random weights of seed 0, the same each time. The random state of the process is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        return build(name, pool)


def describe(vit: VisionTransformer, name: str) -> Card:
    """The card of any supported model, here and in timm called `name`. `download_mb` is computed, not looked up."""
    patch = max(vit.patch_embed.feat_ratio(as_scalar=False))
    native = max(vit.patch_embed.img_size)
    sizes = sorted({max(1, round(size / patch)) * patch for size in (112, 168, 224)} | {native // patch * patch})
    params = sum(p.numel() for p in vit.parameters())
    classes = vit.pretrained_cfg.get("num_classes", 0)
    megabytes = round(4e-6 * (params + classes * (vit.embed_dim + 1)))
    return Card(
        name, name, name, params, megabytes, patch, "see the model's page", _READS[vit.global_pool], tuple(sizes),
        min(sizes, key=lambda size: abs(size - min(native, 224))), depth=len(vit.blocks),
    )
