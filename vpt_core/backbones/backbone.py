"""Backbone: a frozen vision model as a list of stages."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import torch
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
    """A model of timm, frozen and in eval mode for ever, cut into stages [stem, block ..., pool].

    Composed, the stages are timm's `forward_head(forward_features(x), pre_logits=True)` on normalised pixels.
    `net` has no classifier and drops nothing; each family of architectures (`Card.family`) has a subclass that says how
    it is cut. `blocks` are timm's own modules between stem and pool; `layers` are the stage numbers of those
    among them that count as layers (a Swin's patch mergings do not). d is `embed_dim`, the width of the features.
    """

    mean: Tensor
    std: Tensor
    read_rows: int | None = None
    """How many leading tokens of the last block the features are read from; None: not from these alone."""

    def __init__(self, net: nn.Module, card: Card) -> None:
        super().__init__()
        self.card = card
        self.name = card.name
        self.title = card.title
        self.family = card.family
        self.reads = card.reads
        self.sizes = card.sizes
        self.default_size = card.default_size
        self.embed_dim: int = getattr(net, "head_hidden_size", net.num_features)
        self.params = sum(p.numel() for p in net.parameters())
        self.net: Any = net
        self._elsewhere: dict[torch.device, Backbone] = {}
        for part in ("mean", "std"):
            statistics = torch.tensor(net.pretrained_cfg[part], dtype=torch.float32).view(3, 1, 1)
            self.register_buffer(part, statistics, persistent=False)
        self.requires_grad_(False)
        self.eval()

    @property
    def blocks(self) -> list[nn.Module]:
        """The modules between stem and pool, in order."""
        return []

    @property
    def layers(self) -> list[int]:
        """Stage numbers of the layers, in order: layer 1 is stage `layers[0]`."""
        return list(range(1, len(self.blocks) + 1))

    @property
    def depth(self) -> int:
        """How many layers there are; 0 for a model that is not cut between stem and pool."""
        return len(self.layers)

    @property
    def last_norm(self) -> list[nn.Module]:
        """The norms between the last block and the features, which learn together with the last blocks."""
        return []

    @property
    def stages(self) -> list[Callable[[Tensor], Tensor]]:
        """`stem`, the blocks, `pool`: what one puts out is what the next takes in."""
        return [self.stem, *self.blocks, self.pool]

    def stem(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to what the first block takes in."""
        raise NotImplementedError

    def pool(self, x: Tensor) -> Tensor:
        """What the last block puts out to one feature vector an image (B, d)."""
        raise NotImplementedError

    def normalised(self, pixels: Tensor) -> Tensor:
        """Pixels in [0, 1] with the mean and deviation that the model was trained with."""
        return (pixels - self.mean) / self.std

    def train(self, mode: bool = True) -> Backbone:
        """Stay in eval mode, whatever `mode` says: a backbone is never trained as it is."""
        return super().train(False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Pixels (B, 3, H, W) in [0, 1] to features (B, d)."""
        x = pixels
        for stage in self.stages:
            x = stage(x)
        return x

    @cached_property
    def rounded(self) -> Backbone:
        """The same backbone with the weights of its matrix products in bfloat16, cast once; it runs under autocast only.

        Norms, biases, layer scales and positions stay in float32, and so does the sum that runs through the blocks.
        """
        twin = self.twin()
        for part in twin.net.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.weight = nn.Parameter(part.weight.to(torch.bfloat16), requires_grad=False)
        twin.__dict__["weights_hash"] = self.weights_hash  # prompts tuned on it belong to the weights that were rounded
        return twin

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.net.parameters()).device

    def on(self, device: torch.device) -> Backbone:
        """This backbone on `device`: itself where it is there, else a copy of its weights there, made once."""
        if device == self.device:
            return self
        if device not in self._elsewhere:
            moved = copy.deepcopy(self, {id(self._elsewhere): {}})
            moved.to(device).__dict__.pop("rounded", None)
            moved.__dict__["weights_hash"] = self.weights_hash
            self._elsewhere[device] = moved
        return self._elsewhere[device]

    def twin(self) -> Backbone:
        """A backbone with modules of its own, which may be changed, on the very tensors of this one, which may not."""
        memo = {id(t): t for t in chain(self.parameters(), self.buffers())}
        memo |= {id(self.__dict__.get("rounded")): None, id(self._elsewhere): {}}
        twin = copy.deepcopy(self, memo)
        twin.__dict__.pop("rounded", None)  # of the weights as they are here
        return twin

    def check_size(self, size: int) -> None:
        """Raise `UserError` unless the model takes square images of `size` pixels a side."""
        card = self.card
        if card.fixed_size and size != card.default_size:
            raise UserError(f"{self.title} takes images of {card.default_size} pixels a side only, not {size}.")
        if size >= card.smallest and size % card.patch == 0:
            return
        below = size // card.patch * card.patch
        valid = f"{below} or {below + card.patch}" if size > card.smallest else f"{card.smallest} or more"
        if card.patch == 1:
            raise UserError(f"{self.title} cannot work on images of {size} pixels a side. Use {valid}.")
        raise UserError(
            f"{self.title} cuts images into patches of {card.patch} pixels; {size} is no multiple of that. Use {valid}."
        )

    @cached_property
    def weights_hash(self) -> str:
        """SHA-256 (hex) over name, shape and float32 bytes of each tensor of timm's state dict, in order of name.

        The same for the same weights in every process, on every device, at every image size, and whether the file
        held 16 or 32 bits. Computed once, so ask the shared frozen copy, never one whose weights were trained.
        """
        digest = hashlib.sha256()
        for name, tensor in sorted(self.net.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.to("cpu", torch.float32).contiguous().numpy())
        return digest.hexdigest()
