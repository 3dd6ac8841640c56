"""Visual prompt tuning, shallow and deep (Jia et al., ECCV 2022, section 3.2), and the ablations of its section 4.3."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import prod, sqrt

import numpy as np
import torch
from torch import Tensor, nn

from vpt_core.backbones import Backbone, Card
from vpt_core.errors import UserError
from vpt_core.layers import read_layers
from vpt_core.methods.base import Linear, Options
from vpt_core.methods.keyed import can_key, keys_and_values
from vpt_core.methods.prototypes import prototypes
from vpt_core.methods.windows import run_windows
from vpt_core.options import option

_DROPOUT = "share of the prompts' entries zeroed in a training step"
_READOUT = "default: as the backbone was trained; [CLS]; mean of the image tokens; mean of the prompts"
_INIT = "uniform, as in the paper; prototypes: cluster means of the images' tokens"


@dataclass(frozen=True)
class ShallowOptions(Options):
    prompts: int = option(10, "Prompt tokens", "learned tokens a prompted layer", low=0, high=500)
    dropout: float = option(0.0, "Prompt dropout", _DROPOUT, low=0.0, high=0.9, advanced=True)
    place: str = option(
        "prepend", "Place", "prepend: tokens of the sequence; add: as many as patches, one on each; pixel: patches of pixels",
        choices=("prepend", "add", "pixel"), advanced=True,
    )  # fmt: skip
    readout: str = option("default", "Read-out", _READOUT, choices=("default", "cls", "mean", "prompts"), advanced=True)
    init: str = option("uniform", "First prompts", _INIT, choices=("uniform", "prototypes"), advanced=True)


@dataclass(frozen=True)
class DeepOptions(ShallowOptions):
    dropout: float = option(0.1, "Prompt dropout", _DROPOUT, low=0.0, high=0.9, advanced=True)
    layers: str = option("all", "Prompted layers", "all, first 3, last 3, or layer numbers such as 9-12 or 1,6,12",
                         advanced=True)
    shared: bool = option(False, "One for all layers", "the same prompts in every prompted layer", advanced=True)


class Prompted(Linear):
    """Learned tokens stand beside the image's in every layer of `layers`.

    In a ViT the sequence is [prefix, P, E]: [CLS] and registers, p prompts, image tokens. A layer with prompts of its own
    replaces those that came from the layer before; in a layer without, they are carried on. So prompts in layer 1
    alone are VPT-shallow, prompts in all layers are VPT-deep. Prompts are dropped before the pool.
    In a Swin they stand in every window (`run_windows`).
    """

    recipe = {}
    families = ("vit", "swin")
    needs = "tokens (VPT-frame does not)"

    def __init__(
        self, backbone: Backbone, options: ShallowOptions, generator: torch.Generator, size: int, layers: tuple[int, ...]
    ) -> None:
        super().__init__(backbone, options, generator, size)
        self.layers = layers
        self.at = {backbone.layers[layer - 1]: k for k, layer in enumerate(layers)}
        """Stage numbers of the prompted layers, to their place among these."""
        self.cut = min(self.at)
        self.shared = isinstance(options, DeepOptions) and options.shared
        self._known: dict[int, tuple[nn.Parameter, tuple[int, bool], Tensor]] = {}
        self.to_the_last = layers == tuple(range(layers[0], backbone.depth + 1))  # no layer carries prompts on
        if backbone.family == "swin":
            self.keyed, self.read_rows = False, None
            self.prompts = self._by_width()
            return
        self.prefix = backbone.num_prefix_tokens
        self.prompts = self._drawn(1 if self.shared else len(layers), *self._shape(size), width=backbone.embed_dim)
        self.read_rows = self._choose_read_out()
        # As keys and values alone, where the blocks are timm's standard ones.
        tokens_only = options.place == "prepend" and options.readout != "prompts"
        self.keyed = self.to_the_last and tokens_only and all(map(can_key, self.stages[layers[0] : -1]))

    def _shape(self, size: int) -> tuple[int, ...]:
        options, backbone = self.options, self.backbone
        if options.place == "add":
            return prod(backbone.grid(size)), backbone.embed_dim
        if options.place == "pixel":
            return options.prompts, 3, *_projection(backbone).kernel_size
        return options.prompts, backbone.embed_dim

    def _drawn(self, *shape: int, width: int) -> nn.Parameter:
        patch = (4, 4) if self.backbone.family == "swin" else self.backbone.patch_size
        uniform = torch.rand(*shape, generator=self.generator)
        return nn.Parameter((2 * uniform - 1) * prompt_bound(patch, width))

    def _by_width(self) -> nn.ParameterList:
        """One tensor (layers, p, width) for each width of a Swin that has prompted layers."""
        widths = [self.stages[i].dim for i in self.at]
        counts = {width: 1 if self.shared else widths.count(width) for width in widths}
        return nn.ParameterList(self._drawn(n, self.options.prompts, width, width=width) for width, n in counts.items())

    def _choose_read_out(self) -> int | None:
        """Replace the pool where another read-out is asked for; gives how many leading tokens it reads (None: others too)."""
        backbone, how = self.backbone, self.options.readout
        if how == "default":
            return backbone.read_rows
        if how == "cls" and not backbone.has_class_token:
            raise UserError(f"Read-out is cls, and {backbone.title} has no [CLS] token. Use mean or default.")
        after = self.prefix + self.options.prompts
        first, stop = {"cls": (0, 1), "mean": (self.prefix, None), "prompts": (self.prefix, after)}[how]
        self.stages[-1] = partial(backbone.read, first=first, stop=stop)
        return 1 if how == "cls" else None

    def own(self, i: int) -> Tensor:
        """The prompts of stage i, (p, d): of a layer in `at`, after dropout."""
        k = self.at[i]
        if isinstance(self.prompts, nn.ParameterList):
            width = self.stages[i].dim
            group = next(g for g in self.prompts if g.shape[-1] == width)
            first = min(j for stage, j in self.at.items() if self.stages[stage].dim == width)
            return self.dropped(group[0 if self.shared else k - first])
        prompts = self.dropped(self.prompts[0 if self.shared else k])
        if self.options.place != "pixel":
            return prompts
        patches = self.backbone.net.patch_embed
        return patches.norm(_projection(self.backbone)(prompts).flatten(1))  # (p, 3, ph, pw) to (p, d)

    def run(self, x: Tensor, start: int, stop: int) -> Tensor:
        return run_windows(self, x, start, stop) if self.backbone.family == "swin" else super().run(x, start, stop)

    def changes(self, i: int) -> bool:
        return not self.keyed and (i in self.at or i == len(self.stages) - 1)

    def beside(self, i: int) -> Tensor | None:
        if not self.keyed or i not in self.at:
            return None
        still = not torch.is_grad_enabled() and not self.training
        return self._ready(i) if still else keys_and_values(self.stages[i], self.own(i))

    def rows_read(self) -> int | None:
        return self.read_rows

    def _ready(self, i: int) -> Tensor:
        """Keys and values of stage i's prompts for inference: computed once, and again when the prompts have changed."""
        state = self.prompts._version, torch.is_autocast_enabled(self.prompts.device.type)
        of, then, known = self._known.get(i, (None, None, None))
        if of is not self.prompts or then != state:
            known = keys_and_values(self.stages[i], self.own(i))
            self._known[i] = self.prompts, state, known
        return known

    @property
    def path(self) -> str:
        if self.backbone.family == "swin":
            return f"prompts as {'keys and values' if self.to_the_last else 'tokens'} of the windows"
        kind = "prompts as keys and values" if self.keyed else "prompts as tokens"
        return f"{kind}, {self.how}" if self.by_hand else kind

    def before(self, i: int, x: Tensor) -> Tensor:
        own, pool = i in self.at, i == len(self.stages) - 1
        if self.options.place == "add":
            return torch.cat([x[:, : self.prefix], x[:, self.prefix :] + self.own(i)], dim=1) if own else x
        if i > self.cut and (own or (pool and self.options.readout != "prompts")):
            x = torch.cat([x[:, : self.prefix], x[:, self.prefix + self.options.prompts :]], dim=1)
        if own:
            x = torch.cat([x[:, : self.prefix], self.own(i).expand(len(x), -1, -1), x[:, self.prefix :]], dim=1)
        return x

    def dropped(self, prompts: Tensor) -> Tensor:
        """Prompts (p, d) after dropout. One mask a step serves the whole batch: prompts do not depend on the image."""
        rate = self.options.dropout
        if not self.training or rate == 0:
            return prompts
        kept = torch.rand(prompts.shape, generator=self.generator) >= rate
        return prompts * kept.to(prompts) / (1 - rate)

    def count_in(self, i: int) -> int:
        """Number of prompt tokens among the tokens that enter stage i of a ViT."""
        return self.options.prompts if i >= self.cut and self.options.place != "add" else 0

    @torch.no_grad()
    def prepare(self, images: np.ndarray) -> None:
        if self.options.init != "prototypes" or not self.options.prompts:
            return
        seed = int(torch.randint(2**31, (1,), generator=self.generator))
        found = prototypes(self.backbone, images, tuple(self.at), self.options.prompts, seed)
        if isinstance(self.prompts, nn.ParameterList):
            for group in self.prompts:
                mine = [p for p in found.values() if p.shape[-1] == group.shape[-1]]
                group.copy_(torch.stack(mine[: len(group)]))
        else:
            self.prompts.copy_(torch.stack(list(found.values())[: len(self.prompts)]))

    @classmethod
    def check(cls, options: ShallowOptions, card: Card, size: int) -> None:
        super().check(options, card, size)
        if card.family == "swin" and (options.place, options.readout) != ("prepend", "default"):
            raise UserError(f"{card.title} takes prompts in its windows only: use Place prepend and Read-out default.")
        if options.readout == "prompts" and (options.place == "add" or not options.prompts):
            raise UserError("Read-out is prompts, and there are none to read. Use Place prepend and 1 prompt or more.")
        if options.init == "prototypes" and options.place != "prepend":
            raise UserError(f"First prompts is prototypes, which are tokens; with Place {options.place} use uniform.")


class Shallow(Prompted):
    name = "vpt-shallow"
    title = "VPT-shallow"
    about = "Prompt tokens join the sequence before the first layer and travel through all of them."
    Options = ShallowOptions

    def __init__(self, backbone: Backbone, options: ShallowOptions, generator: torch.Generator, size: int) -> None:
        super().__init__(backbone, options, generator, size, layers=(1,))

    @classmethod
    def first_layer(cls, options: ShallowOptions, depth: int) -> int:
        return 1


class Deep(Prompted):
    name = "vpt-deep"
    title = "VPT-deep"
    about = "Every layer gets prompt tokens of its own."
    Options = DeepOptions

    def __init__(self, backbone: Backbone, options: DeepOptions, generator: torch.Generator, size: int) -> None:
        super().__init__(backbone, options, generator, size, layers=read_layers(options.layers, backbone.depth))

    @classmethod
    def first_layer(cls, options: DeepOptions, depth: int) -> int:
        return read_layers(options.layers, depth)[0]

    @classmethod
    def check(cls, options: DeepOptions, card: Card, size: int) -> None:
        super().check(options, card, size)
        read_layers(options.layers, card.depth)
        if options.place == "pixel":
            raise UserError("Place is pixel, and pixels enter only the first layer. Use VPT-shallow.")


def _projection(backbone: Backbone) -> nn.Conv2d:
    """The convolution that makes tokens of patches. Raises `UserError` when the backbone has another kind."""
    projection = backbone.net.patch_embed.proj
    if not isinstance(projection, nn.Conv2d) or backbone.patch_size != projection.kernel_size:
        raise UserError(f"Place is pixel, and {backbone.title} does not make its tokens from patches of pixels. Use prepend.")
    return projection


def prompt_bound(patch_size: tuple[int, int], embed_dim: int) -> float:
    """v of the first prompts, uniform in (-v, v): sqrt(6 / (3 ph pw + d)), as the paper takes it from Xavier's rule."""
    return sqrt(6 / (3 * prod(patch_size) + embed_dim))
