"""How many numbers a backbone holds, and where: from its definition, without building it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import accumulate

from vpt_core.errors import UserError


@dataclass(frozen=True)
class Numbers:
    """Parameters of a part of a network: biases of its layers and norms, and all others."""

    others: int
    biases: int = 0

    @property
    def total(self) -> int:
        return self.others + self.biases

    def __add__(self, more: Numbers) -> Numbers:
        return Numbers(self.others + more.others, self.biases + more.biases)


NOTHING = Numbers(0)


def linear(into: int, out: int, bias: bool = True) -> Numbers:
    """A linear layer; a convolution is one too, with `into` the numbers that its kernel covers."""
    return Numbers(into * out, out if bias else 0)


def norm(width: int) -> Numbers:
    """A norm with a factor and a bias for each channel."""
    return Numbers(width, width)


def attention_block(width: int, mlp_ratio: int, qkv_bias: bool = True) -> Numbers:
    """Norm, attention (qkv and projection), norm, feed-forward."""
    hidden = mlp_ratio * width
    attention = linear(width, 3 * width, qkv_bias) + linear(width, width)
    return norm(width) + attention + norm(width) + linear(width, hidden) + linear(hidden, width)


@dataclass(frozen=True)
class Block:
    """One layer: the width of its tokens, the pixels a side that a token stands for, its parameters, and those of
    the patch merging in front of it."""

    width: int
    stride: int
    own: Numbers
    merging: Numbers = NOTHING

    def tokens(self, image_size: int) -> int:
        """Image tokens of a square image of `image_size` pixels a side."""
        return (-(-image_size // self.stride)) ** 2


@dataclass(frozen=True, kw_only=True)
class Shape(ABC):
    """What the formulas need to know of a backbone without classifier: stem, blocks, a norm after the last one.

    `width` and `patch` (pixels a side) are those of the first layer.
    """

    title: str
    width: int
    patch: int
    mlp_ratio: int = 4

    @property
    @abstractmethod
    def stem(self) -> Numbers:
        """What makes tokens of pixels."""

    @property
    @abstractmethod
    def blocks(self) -> tuple[Block, ...]:
        """The layers, from the first to the last."""

    @property
    def features(self) -> int:
        """Width of the feature vector that a head reads."""
        return self.blocks[-1].width

    @property
    def numbers(self) -> Numbers:
        """All parameters."""
        parts = (part for block in self.blocks for part in (block.merging, block.own))
        return sum(parts, self.stem + norm(self.features))

    def last(self, count: int) -> Numbers:
        """Parameters of the last `count` blocks, the mergings between them and the norm. Raises `UserError` for a count
        of blocks that is not there."""
        if not 1 <= count <= len(self.blocks):
            raise UserError(f"{self.title} has no last {count} blocks; choose from 1 to {len(self.blocks)}.")
        first, *rest = self.blocks[-count:]
        return sum((block.merging + block.own for block in rest), first.own + norm(self.features))


@dataclass(frozen=True, kw_only=True)
class Vit(Shape):
    """A vision transformer with [CLS] (Dosovitskiy et al. 2021), pretrained on images of `image_size` pixels a side.

    With registers (Darcet et al. 2024) the position embedding covers the patches alone, else the patches and [CLS].
    """

    depth: int
    image_size: int = 224
    qkv_bias: bool = True
    registers: int = 0
    layer_scale: bool = False

    @property
    def stem(self) -> Numbers:
        patches = (self.image_size // self.patch) ** 2
        positions = patches if self.registers else patches + 1
        return linear(3 * self.patch**2, self.width) + Numbers((positions + 1 + self.registers) * self.width)

    @property
    def blocks(self) -> tuple[Block, ...]:
        scales = Numbers(2 * self.width if self.layer_scale else 0)
        own = attention_block(self.width, self.mlp_ratio, self.qkv_bias) + scales
        return (Block(self.width, self.patch, own),) * self.depth


@dataclass(frozen=True, kw_only=True)
class Swin(Shape):
    """A Swin transformer (Liu et al. 2021): stages of `depths` blocks; from one to the next the width doubles and four
    tokens become one. Each block has a table of biases for relative positions, `heads` of its stage wide, which is no
    layer's bias."""

    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int = 7
    patch: int = 4

    @property
    def stem(self) -> Numbers:
        return linear(3 * self.patch**2, self.width) + norm(self.width)

    @property
    def blocks(self) -> tuple[Block, ...]:
        starts = set(accumulate(self.depths[:-1]))
        stages = [stage for stage, depth in enumerate(self.depths) for _ in range(depth)]
        return tuple(self._block(stage, merges=i in starts) for i, stage in enumerate(stages))

    def _block(self, stage: int, merges: bool) -> Block:
        width = self.width * 2**stage
        table = Numbers((2 * self.window - 1) ** 2 * self.heads[stage])
        merging = norm(2 * width) + linear(2 * width, width, bias=False) if merges else NOTHING
        return Block(width, self.patch * 2**stage, attention_block(width, self.mlp_ratio) + table, merging)


VIT_B16 = Vit(title="ViT-B/16", width=768, patch=16, depth=12)
VIT_L16 = Vit(title="ViT-L/16", width=1024, patch=16, depth=24)
VIT_H14 = Vit(title="ViT-H/14", width=1280, patch=14, depth=32)
SWIN_B = Swin(title="Swin-B", width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32))

SHAPES: tuple[Shape, ...] = (VIT_B16, VIT_L16, VIT_H14, SWIN_B)
"""The paper's backbones, without classifier, at 224 pixels."""
