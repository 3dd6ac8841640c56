"""Model: a frozen backbone, a method and a head."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone
from vpt_core.methods import METHODS
from vpt_core.precision import BFLOAT16, FLOAT32
from vpt_core.shares import MOST, part_of, side_by_side


class Model(nn.Module):
    """A classifier on a shared frozen backbone.

    Its parameters and its `state_dict` are what is learned and nothing else: the stages stand in a plain list,
    so the backbone is used but not owned. Models on one backbone share it.
    """

    def __init__(self, backbone: Backbone, method: str, options: dict[str, Any], classes: int, seed: int = 0,
                 image_size: int | None = None, precision: str = FLOAT32) -> None:
        """Build `method` with `options` on `backbone` for a number of `classes`; `seed` draws the first weights.

        `image_size` is that of the images to come, in pixels a side (the backbone's usual one by default): some methods
        learn something of that shape, the others take any. With `precision` "bfloat16" the method's matrix products are
        computed in it (torch.autocast) on frozen weights that are cast once; what is learned, norms, the sum through the
        blocks, head and logits stay in float32. Raises `UserError` for an unknown method or option, and
        for a method that cannot work on this backbone.
        """
        super().__init__()
        kind = METHODS[method]
        chosen = kind.read_options(options)
        size = image_size or backbone.default_size
        self.precision = precision
        if precision == BFLOAT16 and kind.rounds:
            backbone = backbone.rounded
        kind.check(chosen, backbone.card, size)
        generator = torch.Generator().manual_seed(seed)
        # The head is drawn first: every method starts from the same head as the linear probe of its seed.
        self.head = nn.utils.skip_init(nn.Linear, backbone.embed_dim, classes)  # nothing is drawn from torch's global state
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(self.head.weight.shape, generator=generator) * 0.01)
            self.head.bias.zero_()
        self.method = kind(backbone, chosen, generator, size)
        for part in (self.head, self.method):  # drawn on the processor, so that a seed means the same everywhere
            if any(p.device != backbone.device for p in part.parameters()):
                part.to(backbone.device)
        self.__dict__["backbone"] = backbone  # past nn.Module's bookkeeping, for the reason above

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """What stage `stop` - 1 puts out, given what enters stage `start`.

        From start = 0 the input is pixels (B, 3, H, W) in [0, 1]; to the end the output is features (B, d).
        """
        stop = len(self.method.stages) if stop is None else stop

        def part(x: Tensor) -> Tensor:
            with self._precisely():
                return self.method.run(x.to(self.backbone.device), start, stop)

        if self.training or torch.is_grad_enabled() or self.backbone.device.type != "cpu":
            return part(x)
        return torch.cat(side_by_side(part, *((images,) for images in x.split(part_of(len(x), MOST)))))

    def prepare(self, images: np.ndarray) -> None:
        """Set first weights that depend on the training images (N, S, S, 3) uint8; called once, before training."""
        with self._precisely():
            self.method.prepare(images)

    def _precisely(self) -> AbstractContextManager[None]:
        return torch.autocast(self.backbone.device.type, torch.bfloat16) if self.precision == BFLOAT16 else nullcontext()

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Logits (B, classes)."""
        return self.head(self.run(x, start).float())

    @property
    def trained(self) -> int:
        """How many numbers are learned, head included."""
        return sum(p.numel() for p in self.parameters())
