"""Random changes of training images, drawn anew in every step."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 8  # a shift is at most one part in so many of the side


def augmented(pixels: Tensor, kind: str, generator: torch.Generator) -> Tensor:
    """Pixels (B, C, S, S), each image changed by itself as `kind` says, one of `Spec.augment`'s choices.

    flip: mirrored left to right, every second time; shift: moved by up to S / 8 each way, the gap filled by reflection.
    """
    if kind == "none":
        return pixels
    mirrored = torch.rand(len(pixels), generator=generator) < 0.5
    pixels = torch.where(mirrored[:, None, None, None], pixels.flip(-1), pixels)
    if kind == "flip":
        return pixels
    side = pixels.shape[-1]
    most = side // SHIFT
    padded = F.pad(pixels, (most, most, most, most), mode="reflect")
    places = torch.randint(0, 2 * most + 1, (len(pixels), 2), generator=generator).tolist()
    return torch.stack([image[:, y : y + side, x : x + side] for image, (y, x) in zip(padded, places, strict=True)])
