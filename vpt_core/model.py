"""Model: a frozen backbone, a method and a head."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone
from vpt_core.methods import METHODS


class Model(nn.Module):
    """A classifier on a shared frozen backbone.

    Its parameters and its `state_dict` are what is learned and nothing else: the stages stand in a plain list,
    so the backbone is used but not owned. Models on one backbone share it.
    """

    def __init__(self, backbone: Backbone, method: str, options: dict[str, Any], classes: int, seed: int = 0,
                 image_size: int | None = None) -> None:
        """Build `method` with `options` on `backbone` for a number of `classes`; `seed` draws the first weights.

        `image_size` is that of the images to come, in pixels a side (the backbone's usual one by default): some methods
        learn something of that shape, the others take any. Raises `UserError` for an unknown method or option, and
        for a method that cannot work on this backbone.
        """
        super().__init__()
        kind = METHODS[method]
        chosen = kind.read_options(options)
        size = image_size or backbone.default_size
        kind.check(chosen, backbone.card, size)
        generator = torch.Generator().manual_seed(seed)
        # The head is drawn first: every method starts from the same head as the linear probe of its seed.
        self.head = nn.utils.skip_init(nn.Linear, backbone.embed_dim, classes)  # nothing is drawn from torch's global state
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(self.head.weight.shape, generator=generator) * 0.01)
            self.head.bias.zero_()
        self.method = kind(backbone, chosen, generator, size)
        self.__dict__["backbone"] = backbone  # past nn.Module's bookkeeping, for the reason above

    def run(self, x: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """What stage `stop` - 1 puts out, given what enters stage `start`.

        From start = 0 the input is pixels (B, 3, H, W) in [0, 1]; to the end the output is features (B, d).
        """
        return self.method.run(x, start, len(self.method.stages) if stop is None else stop)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Logits (B, classes)."""
        return self.head(self.run(x, start))

    @property
    def trained(self) -> int:
        """How many numbers are learned, head included."""
        return sum(p.numel() for p in self.parameters())
