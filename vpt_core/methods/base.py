"""The base method. It is the linear probe; every other method says only how it differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone, Card
from vpt_core.errors import UserError
from vpt_core.methods.frozen import can_freeze, frozen_blocks
from vpt_core.methods.how import USUAL, How
from vpt_core.methods.keyed import block_beside, can_key
from vpt_core.options import check
from vpt_core.table import Table

Stage = Callable[[Tensor], Tensor]
METHODS: Table[type[Linear]] = Table("method", {})
"""Every method by its name; the package fills it."""


@dataclass(frozen=True)
class Options:
    """Options of a method: subclasses add fields made by `vpt_core.options.option`."""

    def __post_init__(self) -> None:
        check(self)


class Linear(nn.Module):
    """Linear probe: the backbone is frozen and only the head learns.

    A method is a module that holds what it learns besides the head, and says

    * `cut`: how many leading stages training never changes. Their outputs are computed once and cached;
    * `before(i, x)`: what happens to the tokens before stage i, and `changes(i)`: whether anything does;
    * `stages`: the stages that run, the backbone's own unless a method replaces some;
    * `rows_read()`: how many leading tokens of the last block it reads, if it changes something but reads no more.

    Without gradients `run` sees a part of a batch at a time, in several threads at once, so it leaves no traces.

    `generator` seeds first weights and dropout, so that a run depends on its seed alone and not on its neighbours.
    `size` is the side of the images in pixels, for methods that learn something of their shape.
    """

    name: ClassVar[str] = "linear"
    title: ClassVar[str] = "Linear probe"
    about: ClassVar[str] = "Only a linear classifier on the frozen features learns: the yardstick for everything else."
    Options: ClassVar[type[Options]] = Options
    recipe: ClassVar[dict[str, Any]] = {"epochs": 100}
    """Values of `Spec` that suit the method better than `Spec`'s defaults. On cached features epochs cost next to nothing."""
    families: ClassVar[tuple[str, ...]] = ("vit", "swin", "conv", "other")
    """The families of backbones (`Card.family`) that the method is defined for."""
    needs: ClassVar[str] = ""
    """What a backbone has to have, for the sentence that refuses one."""
    divisible: ClassVar[bool] = True
    """Whether a step is the same when its batch goes through in parts: no statistics are taken over the batch."""
    rounds: ClassVar[bool] = True
    """Whether frozen weights may be rounded once to bfloat16 (`Backbone.rounded`): not where learning starts from them."""
    how: How | None = USUAL
    """The ways of the backward written by hand; None: autograd's instead."""

    def __init__(self, backbone: Backbone, options: Options, generator: torch.Generator, size: int) -> None:
        super().__init__()
        self.options = options
        self.generator = generator
        self.stages: list[Stage] = list(backbone.stages)
        self.cut = len(self.stages)
        self.__dict__["backbone"] = backbone  # used, not owned

    def before(self, i: int, x: Tensor) -> Tensor:
        """What enters stage i, given what stage i - 1 put out: tokens (B, N, d) in a ViT."""
        return x

    def changes(self, i: int) -> bool:
        """Whether `before` changes what enters stage i."""
        return type(self).before is not Linear.before

    def beside(self, i: int) -> Tensor | None:
        """Keys and values (p, 2, H, D) of prompts that stand beside the tokens in stage i, a block that is `untouched`."""
        return None

    def run(self, x: Tensor, start: int, stop: int) -> Tensor:
        """What stage `stop` - 1 puts out, given what enters stage `start`: the loop that defines every method.

        The frozen backbone's own blocks are computed by the cheapest of the exact ways: on the way to the end the last one
        gives only the tokens that are read, and where gradients flow, those of others go back as `frozen_blocks` says.
        """
        i = start
        while i < stop:
            if self.changes(i):
                x = self.before(i, x)
            read = self.rows_read() if i == self.backbone.depth and stop == len(self.stages) else None
            together = self._together(i, stop)
            if together:
                x = frozen_blocks([self.stages[j] for j in together], x, [self._keys(j, x) for j in together], self.how)
            elif self.untouched(i):
                x = block_beside(self.stages[i], x, self._keys(i, x)[None], read)
            else:
                x = self.stages[i](x)
            i += max(1, len(together))
        return x

    def _together(self, i: int, stop: int) -> range:
        """The stages from i on through which gradients flow in one go by the backward written by hand."""
        end = i
        if torch.is_grad_enabled() and self.how is not None and self.backbone.device.type == "cpu":
            last = self.backbone.depth if stop < len(self.stages) or self.rows_read() is None else self.backbone.depth - 1
            while end < min(stop, last + 1) and self._freezes(end) and not (end > i and self.changes(end)):
                end += 1
        return range(i, end)

    def _keys(self, i: int, x: Tensor) -> Tensor:
        """`beside`, or those of no prompts."""
        attn, keys = self.stages[i].attn, self.beside(i)
        return x.new_empty(0, 2, attn.num_heads, attn.head_dim) if keys is None else keys

    def _freezes(self, i: int) -> bool:
        return self.untouched(i) and can_freeze(self.stages[i])

    def untouched(self, i: int) -> bool:
        """Whether stage i is the frozen backbone's own block, of timm's standard kind."""
        stage = self.stages[i]
        return isinstance(stage, nn.Module) and can_key(stage) and stage is self.backbone.stages[i]

    def rows_read(self) -> int | None:
        """How many leading tokens of the last block are read; None: others too."""
        plain = type(self).before is Linear.before and self.stages[-1] == self.backbone.pool
        return self.backbone.read_rows if plain else None

    @property
    def by_hand(self) -> bool:
        """Whether gradients flow through the backward written by hand alone, but for what is read of the last block."""
        passed = range(max(1, self.cut), self.backbone.depth + (self.rows_read() is None))
        here = self.how is not None and self.backbone.device.type == "cpu"
        return here and bool(passed) and all(map(self._freezes, passed))

    def prepare(self, images: np.ndarray) -> None:
        """Set first weights that depend on the training images (N, S, S, 3) uint8; called once, before training."""

    @property
    def path(self) -> str:
        """How the method's definition is computed, where there is a choice; the run's record says it."""
        return str(self.how) if self.by_hand else ""

    @classmethod
    def first_layer(cls, options: Options, depth: int) -> int:
        """The first of `depth` layers that training changes or has to run through; depth + 1 when there is none."""
        return depth + 1

    @classmethod
    def check(cls, options: Options, card: Card, size: int) -> None:
        """Raise `UserError` when the method cannot work so on this backbone at images of `size` pixels a side."""
        if card.family not in cls.families:
            others = ", ".join(method.title for method in METHODS.values() if card.family in method.families)
            raise UserError(f"{cls.title} needs {cls.needs}, which {card.title} does not have. Choose another backbone, or "
                            f"a method that this one takes: {others}.")

    @classmethod
    def read_options(cls, given: dict[str, Any]) -> Options:
        """The method's options from a dict. Raises `UserError` for unknown names and bad values."""
        known = cls.Options.__dataclass_fields__
        for name in given:
            if name not in known:
                takes = f"it takes {', '.join(known)}" if known else "it has no options"
                raise UserError(f"{cls.title} ({cls.name}) has no option {name!r}; {takes}.")
        return cls.Options(**given)
