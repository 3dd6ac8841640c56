"""Sidetune: a small network beside the frozen backbone."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone
from vpt_core.methods.base import Linear, Options

CHANNELS = (32, 64, 128, 256)
_GROUPS = 8


class SideNetwork(nn.Module):
    """Four 3 x 3 convolutions of stride 2, each with group norm and GELU, then the mean over the image, then linear.

    Images (B, 3, H, W) to features (B, d). 0.4 million weights, trained from scratch; the paper's own experiments had
    an AlexNet of 9.5 million, pretrained.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip((3, *CHANNELS), CHANNELS, strict=False):
            conv = nn.utils.skip_init(nn.Conv2d, before, after, 3, stride=2, padding=1, bias=False)
            _draw(conv.weight, 9 * before, generator)
            layers += [conv, nn.GroupNorm(_GROUPS, after), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        self.out = nn.utils.skip_init(nn.Linear, CHANNELS[-1], width)
        _draw(self.out.weight, CHANNELS[-1], generator)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.convolutions(x).mean(dim=(2, 3)))


@torch.no_grad()
def _draw(weight: Tensor, inputs: int, generator: torch.Generator) -> None:
    weight.copy_(torch.randn(weight.shape, generator=generator) * sqrt(2 / inputs))  # He et al. 2015


class Sidetune(Linear):
    """Side-tuning (Zhang et al. 2020): s * frozen + (1 - s) * side features, s = sigmoid(alpha), alpha = 0 at start."""

    name = "sidetune"
    title = "Sidetune"
    about = "A small network beside the frozen backbone learns; its features are mixed with the frozen ones."
    recipe = {"lr": 1e-3}
    by_hand = False  # no gradient flows back through the frozen backbone

    def __init__(self, backbone: Backbone, options: Options, generator: torch.Generator, size: int) -> None:
        super().__init__(backbone, options, generator, size)
        self.cut = 0  # the side network needs the pixels
        self.side = SideNetwork(backbone.embed_dim, generator)
        self.alpha = nn.Parameter(torch.zeros(()))
        self.normalised = backbone.normalised

    def run(self, x: Tensor, start: int, stop: int) -> Tensor:
        frozen = super().run(x, start, stop)
        if stop < len(self.stages):
            return frozen
        share = self.alpha.sigmoid()
        return share * frozen + (1 - share) * self.side(self.normalised(x))

    @classmethod
    def first_layer(cls, options: Options, depth: int) -> int:
        return min(1, depth + 1)
