"""Attention: who gives how much to prompts, patches and itself, in every layer and head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from timm.layers import Attention as Attend
from timm.models.vision_transformer import Block
from torch import Tensor

from vpt_core.analysis.rollout import Rollout
from vpt_core.backbones import to_pixels
from vpt_core.errors import UserError
from vpt_core.methods import Frame, Prompted
from vpt_core.model import Model


@dataclass(frozen=True)
class Attention:
    """Attention of one image, L layers and H heads. "The query" is what is read out: [CLS], or the mean of other tokens.

    patches      (L, H, gh, gw) what the query gives to each patch
    to_prompts   for each layer (H, p) what it gives to each prompt, p = 0 where no prompts stand
    to_self      (L, H) what it gives to [CLS] itself and registers; with the two above it sums to 1
    received     for each layer (H, p): what the patches give to each prompt, their mean
    prompt_rows  for each layer (H, p, gh, gw): what each prompt gives to each patch. A deep prompt's row changes nothing:
                 what a layer computes at its place is thrown away
    rollout      (L, gh, gw) where the query of a layer's output comes from, through all layers up to it (`Rollout`)
    rolled       (L, 2): of the same what ends in prompts, and in [CLS] and registers; with `rollout` it sums to 1
    query        whose attention it is: "[CLS]", "the mean of the patches" or "the mean of the prompts"
    """

    patches: np.ndarray
    to_prompts: list[np.ndarray]
    to_self: np.ndarray
    received: list[np.ndarray]
    prompt_rows: list[np.ndarray]
    rollout: np.ndarray
    rolled: np.ndarray
    query: str


@dataclass(frozen=True)
class Layer:
    """Attention of B images in one layer: weights (B, H, N, N), whose rows sum to 1.

    The N tokens are `prefix` of [CLS] and its like, `prompts`, and the patches. `own`: the prompts stand there for this
    layer alone, as in VPT-deep, rather than come from the layer before. `read`: the places that are read out.
    """

    weights: Tensor
    prefix: int
    prompts: int
    own: bool
    read: slice

    @property
    def first(self) -> int:
        """Place of the first patch."""
        return self.prefix + self.prompts

    @property
    def query(self) -> Tensor:
        """What the read-out gives to each token, (B, H, N)."""
        return self.weights[:, :, self.read].mean(dim=2)

    @property
    def to_prompts(self) -> Tensor:
        """What the query gives to each prompt, (B, H, p)."""
        return self.query[..., self.prefix : self.first]

    @property
    def received(self) -> Tensor:
        """What the patches give to each prompt, their mean, (B, H, p)."""
        return self.weights[:, :, self.first :, self.prefix : self.first].mean(dim=2)

    @property
    def prompt_rows(self) -> Tensor:
        """What each prompt gives to each patch, (B, H, p, m)."""
        return self.weights[:, :, self.prefix : self.first, self.first :]


def attention_weights(block: torch.nn.Module, x: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head dim)) of a timm ViT block for the tokens (B, N, d) that enter it: (B, H, N, N).

    The same arithmetic as timm.layers.attention.Attention without the fused kernel; nothing is hooked or changed.
    Raises `UserError` for any other kind of block or attention: other arithmetic would show something else.
    """
    q, k = queries_and_keys(block, x)
    return ((q * block.attn.scale) @ k.transpose(-2, -1)).softmax(dim=-1)


def queries_and_keys(block: torch.nn.Module, x: Tensor) -> Tensor:
    """Queries and keys, (2, B, H, N, head dim), of a timm ViT block for the tokens (B, N, d) that enter it.

    Raises `UserError` for any other kind of block or attention.
    """
    if type(block) is not Block or type(block.attn) is not Attend:
        raise UserError(
            f"Attention cannot be shown for this backbone: its blocks ({type(block).__name__}) are not timm's standard ones "
            "with standard attention. Choose another backbone."
        )
    attn = block.attn
    n, tokens = len(x), x.shape[1]
    qkv = attn.qkv(block.norm1(x)).reshape(n, tokens, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    return torch.stack([attn.q_norm(qkv[0]), attn.k_norm(qkv[1])])


def record(model: Model, pixels: np.ndarray) -> Iterator[Layer]:
    """Attention of images (B, S, S, 3) uint8 at the model's image size, layer by layer; one layer is held at a time.

    Raises `UserError` when the backbone is no vision transformer with standard attention.
    """
    for i, tokens, block in entering(model, pixels):
        yield _layer(model, i, tokens, block)


def entering(model: Model, pixels: np.ndarray) -> Iterator[tuple[int, Tensor, torch.nn.Module]]:
    """Stage number, the tokens (B, N, d) that enter it, prompts among them, and the stage: of each layer in order.

    Raises `UserError` when the backbone is no vision transformer.
    """
    model.eval()
    backbone, method = model.backbone, model.method
    if backbone.family != "vit":
        raise UserError(f"Attention to prompts is shown for vision transformers only; {backbone.title} is none.")
    x = _step(model, 0, _beside(model, 0, to_pixels(pixels)), None)
    for i in range(1, backbone.depth + 1):
        tokens = _beside(model, i, x)
        yield i, tokens, method.stages[i]
        if i < backbone.depth:
            x = _step(model, i, tokens, x)


# no_grad stands at each step and not round the generators: they pause, and their caller must not find gradients off.
@torch.no_grad()
def _beside(model: Model, i: int, x: Tensor) -> Tensor:
    """What enters stage i, its prompts as tokens."""
    method = model.method
    if is_keyed(model) and i in method.at:  # between its stages there are no prompts
        return torch.cat([x[:, : method.prefix], method.own(i).expand(len(x), -1, -1), x[:, method.prefix :]], dim=1)
    return method.before(i, x)


@torch.no_grad()
def _step(model: Model, i: int, tokens: Tensor, x: Tensor | None) -> Tensor:
    return model.run(x, i, i + 1) if x is not None and is_keyed(model) else model.method.stages[i](tokens)


@torch.no_grad()
def _layer(model: Model, i: int, tokens: Tensor, block: torch.nn.Module) -> Layer:
    prompted = isinstance(model.method, Prompted)
    prefix, prompts = model.backbone.num_prefix_tokens, model.method.count_in(i) if prompted else 0
    read = {"cls": slice(0, 1), "prompts": slice(prefix, prefix + prompts)}.get(_reads(model), slice(prefix + prompts, None))
    return Layer(attention_weights(block, tokens), prefix, prompts, prompted and i in model.method.at, read)


def is_keyed(model: Model) -> bool:
    """True when the method's own `run` has no prompts between its stages (see `vpt_core.methods.keyed`)."""
    return isinstance(model.method, Prompted) and model.method.keyed


def grid_of(model: Model, size: int) -> tuple[int, int]:
    """Rows and columns of patches that the model makes of an image of `size` pixels a side, a learned frame among them."""
    frame = model.method.options.width if isinstance(model.method, Frame) else 0
    return model.backbone.grid(size + 2 * frame)


def query_name(model: Model) -> str:
    """Whose attention is shown, in words."""
    return {"cls": "[CLS]", "prompts": "the mean of the prompts"}.get(_reads(model), "the mean of the patches")


def _reads(model: Model) -> str:
    """What the features are read from: "cls", "prompts", else the patches."""
    asked = model.method.options.readout if isinstance(model.method, Prompted) else "default"
    return model.backbone.reads if asked == "default" else asked


@torch.no_grad()
def read_attention(model: Model, pixels: np.ndarray) -> Attention:
    """Attention in every layer for one image (S, S, 3) uint8 at the model's image size. Raises `UserError` as `record`."""
    parts: dict[str, list[Any]] = {field.name: [] for field in fields(Attention) if field.name != "query"}
    grid, rollout = None, Rollout()
    for layer in record(model, pixels[None]):
        grid = grid or grid_of(model, pixels.shape[0])
        rolled = rollout.step(layer)[0]
        parts["patches"].append(layer.query[0, :, layer.first :].reshape(-1, *grid))
        parts["to_prompts"].append(layer.to_prompts[0].numpy())
        parts["to_self"].append(layer.query[0, :, : layer.prefix].sum(dim=1))
        parts["received"].append(layer.received[0].numpy())
        parts["prompt_rows"].append(layer.prompt_rows[0].unflatten(2, grid).numpy())
        parts["rollout"].append(rolled[2:].reshape(grid))
        parts["rolled"].append(rolled[:2])
    whole = {name: torch.stack(parts[name]).numpy() for name in ("patches", "to_self", "rollout", "rolled")}
    return Attention(**parts | whole, query=query_name(model))
