"""Methods that change the inside of the backbone: a twin of it, in which some parameters learn and the rest is shared."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from vpt_core.backbones import Backbone
from vpt_core.methods.base import Linear, Options


class Twin(Linear):
    """The stages are those of a twin of the backbone. It shares every frozen tensor, so it costs what it learns.

    A subclass says in `change` what learns: it gives parameters of the twin up for copies that learn (`release`), or
    replaces modules. Only what learns becomes part of the method, under the name that it has in timm's model.
    """

    recipe = {}

    def __init__(self, backbone: Backbone, options: Options, generator: torch.Generator, size: int) -> None:
        super().__init__(backbone, options, generator, size)
        twin = backbone.twin()
        self.change(twin)
        twin.net.to(backbone.device)  # what `change` drew came to be on the processor
        self.stages = [*backbone.stages[: self.cut], *twin.stages[self.cut :]]
        self.inside = tree({name: p for name, p in twin.net.named_parameters() if p.requires_grad})
        self.__dict__["twin"] = twin  # used, not owned: past nn.Module's bookkeeping

    def change(self, twin: Backbone) -> None:
        """Make parts of `twin` learn and set `cut`."""
        raise NotImplementedError

    @classmethod
    def first_layer(cls, options: Options, depth: int) -> int:
        return min(1, depth + 1)


def release(module: nn.Module, wanted: Callable[[str], bool] = lambda name: True) -> None:
    """Give `module` copies that learn of its parameters whose name in their own module, such as "bias", is `wanted`."""
    for part in module.modules():
        for name, parameter in list(part.named_parameters(recurse=False)):
            if wanted(name):
                setattr(part, name, nn.Parameter(parameter.detach().clone()))


def tree(parameters: dict[str, nn.Parameter]) -> nn.Module:
    """Parameters with dotted names as a module that holds just these, nested so that `state_dict` has the same names."""
    root = nn.Module()
    for name, parameter in parameters.items():
        *path, leaf = name.split(".")
        node = root
        for part in path:
            if part not in node._modules:
                node.add_module(part, nn.Module())
            node = node._modules[part]
        node.register_parameter(leaf, parameter)
    return root
