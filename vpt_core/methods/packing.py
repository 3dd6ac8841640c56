"""Products with frozen weights that are put once into the order in which oneDNN multiplies, for both directions.

A weight that learns has to be put in order at every product; a frozen one does not. A packed weight is a copy: two for a
layer, kept for as long as the layer is there.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_packs: WeakKeyDictionary[nn.Linear, tuple[Tensor, Tensor, Tensor | None]] = WeakKeyDictionary()
"""Weights for the way forwards and backwards, and the bias, which is rounded as autocast rounds it."""


def can_pack(kind: torch.dtype) -> bool:
    """Whether this torch has the operators, and this processor the instructions for numbers of a `kind`."""
    there = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return there and (kind == torch.float32 or kind == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def forwards(layer: nn.Linear, x: Tensor, packed: bool) -> Tensor:
    """What a frozen layer makes of x (..., in): (..., out)."""
    if not packed:
        return layer(x)
    weight, _, bias = _packed(layer)
    return _product(x, weight, bias)


def backwards(layer: nn.Linear, grad: Tensor, packed: bool) -> Tensor:
    """The gradient (..., in) of what entered a frozen layer, given that of what it made (..., out)."""
    return _product(grad, _packed(layer)[1], None) if packed else grad @ layer.weight


def _packed(layer: nn.Linear) -> tuple[Tensor, Tensor, Tensor | None]:
    if layer not in _packs:
        order, weight, bias = torch.ops.mkldnn._reorder_linear_weight, layer.weight.detach(), layer.bias
        _packs[layer] = order(weight), order(weight.T.contiguous()), None if bias is None else bias.detach().to(weight.dtype)
    return _packs[layer]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The operator that torch's own compiler (inductor) takes for frozen layers."""
    return torch.ops.mkldnn._linear_pointwise(x.to(weight.dtype), weight, bias, "none", [], "")
