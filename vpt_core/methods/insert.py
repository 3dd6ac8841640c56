"""Methods that insert small modules into every block: adapter and LoRA. Both start as the frozen model's function."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vpt_core.backbones import Backbone
from vpt_core.errors import UserError
from vpt_core.methods.base import Options
from vpt_core.methods.twin import Twin
from vpt_core.options import option

_DEVIATION = 0.02  # of the first weights, as of the layers of a ViT themselves


def _drawn(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, columns, generator=generator) * _DEVIATION)


class Adapted(nn.Module):
    """A feed-forward layer with an adapter after it: y + up(GELU(down(y))), y = inner(x); `up` starts at zero."""

    def __init__(self, inner: nn.Module, width: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = inner
        self.down_weight, self.down_bias = _drawn(hidden, width, generator), nn.Parameter(torch.zeros(hidden))
        self.up_weight, self.up_bias = nn.Parameter(torch.zeros(width, hidden)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(x)
        return y + F.linear(F.gelu(F.linear(y, self.down_weight, self.down_bias)), self.up_weight, self.up_bias)


class LowRank(nn.Module):
    """A frozen linear layer plus scale * b a x (Hu et al. 2022); b starts at zero."""

    def __init__(self, inner: nn.Linear, rank: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.inner = inner
        self.scale = scale
        self.a = _drawn(rank, inner.in_features, generator)
        self.b = nn.Parameter(torch.zeros(inner.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) + self.scale * F.linear(F.linear(x, self.a), self.b)


@dataclass(frozen=True)
class AdapterOptions(Options):
    reduction: int = option(8, "Reduction", "width of the backbone over width of the adapter", low=1, high=1024)


class Adapter(Twin):
    """Adapter (Houlsby et al. 2019; paper, section 4.1) after the feed-forward of every block, before its residual sum."""

    name = "adapter"
    title = "Adapter"
    about = "A small bottleneck after the feed-forward of every block learns."
    Options = AdapterOptions
    families = ("vit", "swin")
    needs = "transformer blocks"

    def change(self, twin: Backbone) -> None:
        self.cut = 1
        for layer in twin.layers:
            block = twin.blocks[layer - 1]
            inner = _part(block, "mlp", nn.Module, self.title, twin)
            width = block.norm2.weight.numel()
            block.mlp = Adapted(inner, width, max(1, width // self.options.reduction), self.generator)


@dataclass(frozen=True)
class LoraOptions(Options):
    rank: int = option(8, "Rank", "of the learned matrices: fewer numbers, less freedom", low=1, high=256)
    alpha: float = option(8.0, "Alpha", "their product counts alpha / rank times", low=0.01, high=1000.0, advanced=True)
    where: str = option("qkv", "Beside", "the projections that they stand beside", choices=("qkv", "qkv+proj"), advanced=True)


class Lora(Twin):
    """LoRA: low-rank pairs beside the attention's projections in every block."""

    name = "lora"
    title = "LoRA"
    about = "Low-rank matrices beside the attention's projections learn; they can be added into the weights afterwards."
    Options = LoraOptions
    families = ("vit", "swin")
    needs = "attention"

    def change(self, twin: Backbone) -> None:
        self.cut = 1
        scale = self.options.alpha / self.options.rank
        for layer in twin.layers:
            attn = _part(twin.blocks[layer - 1], "attn", nn.Module, self.title, twin)
            for name in self.options.where.split("+"):
                inner = _part(attn, name, nn.Linear, self.title, twin)
                setattr(attn, name, LowRank(inner, self.options.rank, scale, self.generator))


def _part(owner: nn.Module, name: str, kind: type[nn.Module], title: str, backbone: Backbone) -> nn.Module:
    part = getattr(owner, name, None)
    if not isinstance(part, kind):
        raise UserError(f"{title} needs blocks with a part {name!r} as timm's standard ones have; those of {backbone.title} "
                        f"are {type(owner).__name__}. Choose another method or backbone.")
    return part
