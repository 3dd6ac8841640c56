"""Which of timm's models can be a backbone, and how they are built: without a classifier, for every image size they take."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace

import torch
from timm import create_model, get_pretrained_cfg, list_models
from timm.models import VisionTransformer
from torch import nn

from vpt_core.backbones.cards import Card, Reads
from vpt_core.backbones.families import FAMILIES, family_of, feature_shape
from vpt_core.errors import UserError

# The modules of timm whose models take any image size when they are asked to.
_DYNAMIC = ("vision_transformer", "deit", "vision_transformer_hybrid", "swin_transformer")
_READS: dict[str, Reads] = {"token": "cls", "avg": "mean"}
_SUPPORTED = (
    "Supported are timm's VisionTransformer, SwinTransformer, ConvNeXt and ResNet, and with the linear probe, MLP, bias, "
    "full, sidetune and frame any model of timm that gives one feature vector an image"
)


def names() -> list[str]:
    """Every architecture and every pretrained model of timm that can be asked for, supported or not."""
    return [name for tagged in (False, True) for name in list_models(pretrained=tagged)]


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


def build(name: str, pool: str = "", device: str = "cpu") -> nn.Module:
    """timm's model `name` without classifier, zero drop rates; random weights (none on 'meta').

    Raises `UserError` when timm cannot build it so, or it has no read-out.
    """
    dynamic = any(name.partition(".")[0] in list_models(module=module) for module in _DYNAMIC)
    rest = {"dynamic_img_size": True} if dynamic else {}
    try:
        net = create_model(name, num_classes=0, device=device, **rest, **({"global_pool": pool} if pool else {}))
    except TypeError:  # a model that takes no device: only small ones are left without
        net = create_model(name, num_classes=0, **rest)
    if getattr(net, "global_pool", None) == "":
        raise UserError(f"{name} has no read-out: it does not pool its tokens into features. {_SUPPORTED}.")
    return net


def build_random(name: str, pool: str = "") -> nn.Module:
    """`build` with the random weights of seed 0, the same each time. The random state of the process is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(0)
        return build(name, pool)


def describe(net: nn.Module, name: str) -> Card:
    """The card of any supported model, here and in timm called `name`. `download_mb` is computed, not looked up.

    Raises `UserError` when the model does not give one feature vector an image.
    """
    family = family_of(net)
    config = net.pretrained_cfg
    native = max(config["input_size"][1:]) if not isinstance(net, VisionTransformer) else max(net.patch_embed.img_size)
    patch = {"swin": 4, "conv": 1, "other": 1}.get(family) or max(net.patch_embed.feat_ratio(as_scalar=False))
    fixed = family == "other" and bool(config.get("fixed_input_size"))
    sizes = {max(1, round(size / patch)) * patch for size in (112, 168, 224)} if not fixed else set()
    sizes |= {native // patch * patch}
    if family == "other":
        sizes = _taken(net, sizes) or sizes
    params = sum(p.numel() for p in net.parameters())
    card = Card(
        name, name, name, params, 0, patch, "see the model's page", _reads(net), tuple(sorted(sizes)),
        min(sizes, key=lambda size: abs(size - min(native, 224))), family=family, fixed_size=fixed,
    )  # fmt: skip
    width = _checked(net, card)
    heads = len(_classifiers(net))
    megabytes = round(4e-6 * (params + heads * config.get("num_classes", 0) * (width + 1)))
    return replace(card, download_mb=megabytes, depth=FAMILIES[family](net, card).depth)


def _reads(net: nn.Module) -> Reads:
    if family_of(net) == "vit":
        return _READS.get(net.global_pool, "own")
    return "mean" if family_of(net) in ("swin", "conv") else "own"


def _taken(net: nn.Module, sizes: set[int]) -> set[int]:
    """Those of `sizes` that `net` gives features for."""
    found = set()
    for size in sizes:
        with suppress(Exception):  # whatever a model of timm that works otherwise may raise
            feature_shape(net, size)
            found.add(size)
    return found


def _checked(net: nn.Module, card: Card) -> int:
    try:
        shape = feature_shape(net, card.default_size)
    except Exception as error:  # whatever a model of timm that works otherwise may raise
        raise UserError(f"{card.name} cannot be used as a backbone ({type(error).__name__}: {error}). {_SUPPORTED}.") from error
    if len(shape) != 2:
        raise UserError(f"{card.name} gives features of shape {shape}, not one vector an image. {_SUPPORTED}.")
    return shape[1]


def filtered(net: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Published tensors under the names and in the shapes of `net`, by timm's rules for its kind; without classifier."""
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if convert is not None:
        tensors = convert(tensors, net, **({"adapt_layer_scale": True} if isinstance(net, VisionTransformer) else {}))
    named = tuple(f"{name}." for name in _classifiers(net))
    return {name: t for name, t in tensors.items() if not name.startswith(named)}


def _classifiers(net: nn.Module) -> tuple[str, ...]:
    named = net.pretrained_cfg["classifier"]
    return (named,) if isinstance(named, str) else tuple(named)
