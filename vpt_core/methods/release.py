"""Methods that let parameters of the backbone itself learn: partial, bias and full tuning."""

from __future__ import annotations

from dataclasses import dataclass

from vpt_core.backbones import Backbone, Card
from vpt_core.errors import UserError
from vpt_core.methods.base import Options
from vpt_core.methods.twin import Twin, release
from vpt_core.options import option


@dataclass(frozen=True)
class PartialOptions(Options):
    blocks: int = option(1, "Last blocks", "how many of the last blocks learn, with the norm after them", low=1, high=100)


class Partial(Twin):
    """Partial-k: the last k blocks, the final norm and the head learn (paper, section 4.1)."""

    name = "partial"
    title = "Partial"
    about = "The last blocks of the backbone learn, together with the final norm and the head."
    Options = PartialOptions
    recipe = {"lr": 1e-4}
    families = ("vit", "swin", "conv")
    needs = "blocks that can be told apart"
    rounds = False

    def change(self, twin: Backbone) -> None:
        self.cut = twin.layers[-self.options.blocks]
        for module in [*twin.blocks[self.cut - 1 :], *twin.last_norm]:  # block i is stage i + 1
            release(module)

    @classmethod
    def first_layer(cls, options: PartialOptions, depth: int) -> int:
        return depth + 1 - options.blocks

    @classmethod
    def check(cls, options: PartialOptions, card: Card, size: int) -> None:
        super().check(options, card, size)
        if options.blocks > card.depth:
            raise UserError(f"Last blocks is {options.blocks}; {card.title} has {card.depth} blocks. Use 1 to {card.depth}.")


class Bias(Twin):
    """BitFit (Ben Zaken et al. 2022): every bias of the backbone and the head learn."""

    name = "bias"
    title = "Bias"
    about = "Every bias of the backbone learns (BitFit), its weights stay."

    def change(self, twin: Backbone) -> None:
        self.cut = 0
        release(twin.net, lambda name: name == "bias")


class Full(Twin):
    """Full fine-tuning. The backbone stays in eval mode: batch norms keep the statistics of pretraining."""

    name = "full"
    title = "Full"
    about = "Everything learns; each task then costs a whole copy of the backbone."
    recipe = {"lr": 1e-4}
    rounds = False

    def change(self, twin: Backbone) -> None:
        self.cut = 0
        release(twin.net)

