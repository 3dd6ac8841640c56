"""Closed formulas of what a method learns, from the methods' definitions and not from the code that trains them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vpt_core.layers import read_layers
from vpt_core.ledger.shapes import Block, Shape, linear, norm
from vpt_core.table import Table

SIDE_CHANNELS = (3, 32, 64, 128, 256)
"""Channels of sidetune's side network, from the image on."""

FREE = {"dropout", "readout", "init", "alpha"}
"""Options that change what is learned and not how much of it."""

FULL = "full"
"""The method that learns a backbone of its own for each task, so that no frozen one is kept."""


def learned(method: str, options: dict[str, Any], shape: Shape, classes: int, image_size: int = 224) -> int:
    """Numbers that `method` learns for one task of `classes` classes, the head among them.

    `options` are those of the method's row; what is not given has the row's default. Raises `UserError` for an unknown
    method, and for options that the backbone has no place for.
    """
    formula = FORMULAS[method]
    paid = {name: value for name, value in options.items() if name not in FREE}
    return formula(shape, image_size, **paid) + linear(shape.features, classes).total


def stored(method: str, options: dict[str, Any], shape: Shape, classes: int, image_size: int = 224) -> int:
    """Numbers in the task's file: what is learned, and for MLP each batch norm's running mean, variance and step count."""
    running = options.get("hidden_layers", 2) * (2 * shape.features + 1) if method == "mlp" else 0
    return learned(method, options, shape, classes, image_size) + running


def _linear(shape: Shape, image_size: int) -> int:
    return 0


def _mlp(shape: Shape, image_size: int, hidden_layers: int = 2) -> int:
    d = shape.features
    return hidden_layers * (linear(d, d) + norm(d)).total


def _partial(shape: Shape, image_size: int, blocks: int = 1) -> int:
    return shape.last(blocks).total


def _bias(shape: Shape, image_size: int) -> int:
    return shape.numbers.biases


def _full(shape: Shape, image_size: int) -> int:
    return shape.numbers.total


def _adapter(shape: Shape, image_size: int, reduction: int = 8) -> int:
    """Down and up in each block, both with bias."""
    hidden = [(b.width, max(1, b.width // reduction)) for b in shape.blocks]
    return sum((linear(w, h) + linear(h, w)).total for w, h in hidden)


def _lora(shape: Shape, image_size: int, rank: int = 8, where: str = "qkv") -> int:
    """Pairs (rank, in), (out, rank) on qkv, which maps w to 3 w, and on the projection, which maps w to w."""
    ends = Table("place of LoRA", {"qkv": 4, "qkv+proj": 6})[where]
    return sum(rank * ends * b.width for b in shape.blocks)


def _sidetune(shape: Shape, image_size: int) -> int:
    """3 x 3 convolutions without bias, each with a group norm; a linear layer to the features' width; alpha."""
    pairs = zip(SIDE_CHANNELS, SIDE_CHANNELS[1:], strict=False)
    convolutions = sum((linear(9 * a, b, bias=False) + norm(b)).total for a, b in pairs)
    return convolutions + linear(SIDE_CHANNELS[-1], shape.features).total + 1


def _frame(shape: Shape, image_size: int, width: int) -> int:
    """A frame of `width` pixels around the image, in three colours."""
    return 3 * ((image_size + 2 * width) ** 2 - image_size**2)


def _shallow(shape: Shape, image_size: int, prompts: int = 10, place: str = "prepend") -> int:
    if place == "pixel":  # patches of an image, which the stem makes tokens of
        return prompts * 3 * shape.patch**2
    return _prompts(shape.blocks[0], image_size, prompts, place)


def _deep(
    shape: Shape, image_size: int, prompts: int = 10, place: str = "prepend", layers: str = "all", shared: bool = False
) -> int:
    """Shared prompts count once; of Swin once a stage, since stages differ in width."""
    prompted = [shape.blocks[i - 1] for i in read_layers(layers, len(shape.blocks))]
    if shared:
        prompted = list({b.stride: b for b in prompted}.values())
    return sum(_prompts(block, image_size, prompts, place) for block in prompted)


def _prompts(block: Block, image_size: int, prompts: int, place: str) -> int:
    """Prompts of one layer: tokens of their own, or one added to each token of the image."""
    tokens = Table("place of prompts in a layer", {"prepend": prompts, "add": block.tokens(image_size)})[place]
    return tokens * block.width


FORMULAS: Table[Callable[..., int]] = Table("method", {
    "linear": _linear, "mlp": _mlp, "partial": _partial, "bias": _bias, "adapter": _adapter, "sidetune": _sidetune,
    "lora": _lora, FULL: _full, "vpt-frame": _frame, "vpt-shallow": _shallow, "vpt-deep": _deep,
})
"""What each method learns besides the head, given the backbone, the image size and the method's options."""
