"""A learned frame of pixels: visual prompts for models without tokens."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone, Card
from vpt_core.errors import UserError
from vpt_core.methods.base import Linear, Options
from vpt_core.options import option


@dataclass(frozen=True)
class FrameOptions(Options):
    width: int = option(14, "Frame width", "learned pixels on each side of the image", low=0, high=200)


class Frame(Linear):
    """Prompts of ConvNeXt and ResNet (paper, section 4.5): learned pixels round the image, which grows by twice their width.

    They are learned in normalised units and start at 0, the mean colour of pretraining. Works for every backbone that
    takes images of the grown size.
    """

    name = "vpt-frame"
    title = "VPT-frame"
    about = "Learned pixels frame the image; the one kind of prompt that a convolutional network can take."
    Options = FrameOptions
    recipe = {"lr": 1e-2}

    def __init__(self, backbone: Backbone, options: FrameOptions, generator: torch.Generator, size: int) -> None:
        super().__init__(backbone, options, generator, size)
        self.size, w = size, options.width
        backbone.check_size(size + 2 * w)
        self.cut = 0 if w else len(self.stages)
        self.top_and_bottom = nn.Parameter(torch.zeros(2, 3, w, size + 2 * w))
        self.left_and_right = nn.Parameter(torch.zeros(2, 3, size, w))
        self.mean, self.std = backbone.mean, backbone.std

    def before(self, i: int, x: Tensor) -> Tensor:
        return self.framed(x) if i == 0 and self.options.width else x

    def framed(self, pixels: Tensor) -> Tensor:
        """Images (B, 3, S, S) with the frame round them, (B, 3, S + 2w, S + 2w)."""
        if pixels.shape[-1] != self.size:
            raise UserError(f"The frame was made for images of {self.size} pixels a side, not {pixels.shape[-1]}.")
        sides = (self.left_and_right * self.std + self.mean).expand(len(pixels), -1, -1, -1, -1)
        rows = (self.top_and_bottom * self.std + self.mean).expand(len(pixels), -1, -1, -1, -1)
        middle = torch.cat([sides[:, 0], pixels, sides[:, 1]], dim=3)
        return torch.cat([rows[:, 0], middle, rows[:, 1]], dim=2)

    def changes(self, i: int) -> bool:
        return i == 0

    def rows_read(self) -> int | None:
        return self.backbone.read_rows

    @classmethod
    def first_layer(cls, options: FrameOptions, depth: int) -> int:
        return min(1, depth + 1)

    @classmethod
    def check(cls, options: FrameOptions, card: Card, size: int) -> None:
        super().check(options, card, size)
        grown = size + 2 * options.width
        if card.fixed_size and options.width:
            raise UserError(f"{card.title} takes images of {size} pixels only, so there is no room for a frame.")
        if grown % card.patch:
            step = card.patch // 2 if card.patch % 2 == 0 else card.patch
            raise UserError(f"Frame width is {options.width}, which makes images of {grown} pixels; {card.title} takes "
                            f"multiples of {card.patch}. Use a width that is a multiple of {step}.")
