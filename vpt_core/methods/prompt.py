"""Visual prompt tuning, shallow and deep (Jia et al., ECCV 2022, section 3.2)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone
from vpt_core.errors import UserError
from vpt_core.methods.base import Linear, Options
from vpt_core.methods.keyed import can_key, keyed_block
from vpt_core.options import option

_DROPOUT = "share of the prompts' entries zeroed in a training step"


@dataclass(frozen=True)
class ShallowOptions(Options):
    prompts: int = option(10, "Prompt tokens", "learned tokens a prompted layer", low=0, high=500)
    dropout: float = option(0.0, "Prompt dropout", _DROPOUT, low=0.0, high=0.9, advanced=True)


@dataclass(frozen=True)
class DeepOptions(ShallowOptions):
    dropout: float = option(0.1, "Prompt dropout", _DROPOUT, low=0.0, high=0.9, advanced=True)
    layers: str = option("all", "Prompted layers", "all, or layer numbers such as 9-12 or 1,6,12", advanced=True)


class Prompted(Linear):
    """Learned tokens stand beside the image's in every layer of `layers` (layer i is stage i).

    The sequence is [prefix, P, E]: [CLS] and registers, p prompts, image tokens. A layer with prompts of its own
    replaces those that came from the layer before; in a layer without, they are carried on. So prompts in layer 1
    alone are VPT-shallow, prompts in all layers are VPT-deep. Prompts are dropped before the pool.
    """

    recipe = {}

    def __init__(
        self, backbone: Backbone, options: ShallowOptions, generator: torch.Generator, layers: tuple[int, ...]
    ) -> None:
        super().__init__(backbone, options, generator)
        self.layers = layers
        self.cut = layers[0]
        self.prefix = backbone.num_prefix_tokens
        bound = prompt_bound(backbone.patch_size, backbone.embed_dim)
        uniform = torch.rand(len(layers), options.prompts, backbone.embed_dim, generator=generator)
        self.prompts = nn.Parameter((2 * uniform - 1) * bound)  # (layers, p, d)
        # As keys and values alone, where no layer carries prompts on and the blocks are timm's standard ones.
        to_the_last = layers == tuple(range(layers[0], backbone.depth + 1))
        self.keyed = to_the_last and all(can_key(stage) for stage in self.stages[layers[0] : -1])
        self.read_rows = 1 if backbone.reads == "cls" else None

    def run(self, x: Tensor, start: int, stop: int) -> Tensor:
        if not self.keyed:
            return super().run(x, start, stop)
        last = len(self.stages) - 2
        for i in range(start, stop):
            if self.layers[0] <= i <= last:
                prompts = self.dropped(self.prompts[i - self.layers[0]])
                x = keyed_block(self.stages[i], x, prompts, self.read_rows if i == last else None)
            else:
                x = self.stages[i](x)
        return x

    def before(self, i: int, x: Tensor) -> Tensor:
        own, pool = i in self.layers, i == len(self.stages) - 1
        if i > self.layers[0] and (own or pool):
            x = torch.cat([x[:, : self.prefix], x[:, self.prefix + self.options.prompts :]], dim=1)
        if own:
            prompts = self.dropped(self.prompts[self.layers.index(i)]).expand(len(x), -1, -1)  # (B, p, d)
            x = torch.cat([x[:, : self.prefix], prompts, x[:, self.prefix :]], dim=1)
        return x

    def dropped(self, prompts: Tensor) -> Tensor:
        """Prompts (p, d) after dropout. One mask a step serves the whole batch: prompts do not depend on the image."""
        rate = self.options.dropout
        if not self.training or rate == 0:
            return prompts
        kept = torch.rand(prompts.shape, generator=self.generator) >= rate
        return prompts * kept.to(prompts) / (1 - rate)

    def count_in(self, i: int) -> int:
        """Number of prompt tokens among the tokens that enter layer i."""
        return self.options.prompts if i >= self.layers[0] else 0


class Shallow(Prompted):
    name = "vpt-shallow"
    title = "VPT-shallow"
    about = "Prompt tokens join the sequence before the first layer and travel through all of them."
    Options = ShallowOptions

    def __init__(self, backbone: Backbone, options: ShallowOptions, generator: torch.Generator) -> None:
        super().__init__(backbone, options, generator, layers=(1,))

    @classmethod
    def first_layer(cls, options: ShallowOptions, depth: int) -> int:
        return 1


class Deep(Prompted):
    name = "vpt-deep"
    title = "VPT-deep"
    about = "Every layer gets prompt tokens of its own."
    Options = DeepOptions

    def __init__(self, backbone: Backbone, options: DeepOptions, generator: torch.Generator) -> None:
        super().__init__(backbone, options, generator, layers=read_layers(options.layers, backbone.depth))

    @classmethod
    def first_layer(cls, options: DeepOptions, depth: int) -> int:
        return read_layers(options.layers, depth)[0]


def prompt_bound(patch_size: tuple[int, int], embed_dim: int) -> float:
    """v of the first prompts, uniform in (-v, v): sqrt(6 / (3 ph pw + d)), as the paper takes it from Xavier's rule."""
    return sqrt(6 / (3 * prod(patch_size) + embed_dim))


def read_layers(text: str, depth: int) -> tuple[int, ...]:
    """Layer numbers, ascending, from "all", "9-12" or "1,6,12". Raises `UserError` with what is allowed."""
    if text.strip().lower() == "all":
        return tuple(range(1, depth + 1))
    layers: set[int] = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,4})\s*(?:-\s*(\d{1,4})\s*)?", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= depth:
            examples = f"1-{depth} or 1,{depth}"
            raise UserError(f"Prompted layers is {text!r}; write all, or layers from 1 to {depth} such as {examples}.")
        layers.update(range(first, last + 1))
    return tuple(sorted(layers))
