"""What would be read out after each layer of a vision transformer, as if the model ended there."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vpt_core.analysis.attention import is_keyed
from vpt_core.errors import UserError
from vpt_core.methods import Prompted
from vpt_core.model import Model


def check_layers(model: Model, layers: Sequence[int]) -> None:
    """Raise `UserError` unless features can be read after each of `layers`, which are counted from 1."""
    backbone, method = model.backbone, model.method
    if backbone.family != "vit":
        raise UserError(f"Only a vision transformer has the same width in all layers; {backbone.title} is none. Use its last "
                        "layer.")
    if isinstance(method, Prompted) and method.options.readout == "prompts":
        raise UserError("This run reads its answer from the prompts, which do not stand in every layer. Use the last layer.")
    for layer in layers:
        if not 1 <= layer <= backbone.depth:
            raise UserError(f"There is no layer {layer}; {backbone.title} has layers 1 to {backbone.depth}.")


@torch.no_grad()
def read_layers(model: Model, pixels: Tensor, layers: Sequence[int]) -> Tensor:
    """Features (K, B, d) of images (B, 3, S, S) in [0, 1] after each of K `layers`, counted from 1, in rising order.

    What a layer puts out goes through the model's own final norm and read-out ([CLS] for most): the features as they would be
    if the model ended there, so after the last layer they are its features, but for what a method adds beside the
    layers (sidetune). Raises `UserError` as `check_layers`.
    """
    check_layers(model, layers)
    model.eval()
    found, x, stage = [], pixels, 0
    for layer in layers:
        x, stage = model.run(x, stage, layer + 1), layer + 1
        read = _without_prompts(model, x, layer)
        for end in model.method.stages[model.backbone.depth + 1 :]:
            read = end(read)
        found.append(read.float())
    return torch.stack(found)


def _without_prompts(model: Model, x: Tensor, layer: int) -> Tensor:
    """What `layer` put out, (B, N, d), less the prompts that stand among the tokens."""
    method = model.method
    if not isinstance(method, Prompted) or is_keyed(model):
        return x
    after = method.prefix + method.count_in(layer)
    return torch.cat([x[:, : method.prefix], x[:, after:]], dim=1)
