"""Attention atlas: layers x heads over many images, mean and spread, in batches of bounded memory."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vpt_core.analysis.attention import grid_of, query_name, record
from vpt_core.analysis.rollout import Rollout
from vpt_core.errors import UserError
from vpt_core.methods import Prompted
from vpt_core.model import Model

BATCH = 16  # images at once: the weights of one layer are all that is held of them
MOST_ROWS = 2**22  # numbers of prompts' own rows in all sets together; beyond it they are left out


@dataclass(frozen=True)
class Shares:
    """Numbers of a set of images for L layers and H heads; "the query" is what is read out, as in `Attention`.

    patches     (L, H, gh, gw) what the query gives to each place of the image
    to_prompts  (L, H, P) what it gives to each prompt, P the most in a layer, 0 where fewer stand
    to_self     (L, H) what it gives to [CLS] itself and registers
    received    (L, H, P) what the patches give to each prompt, their mean
    prompt_rows (L, H, P, gh, gw) what each prompt gives to each patch; P = 0 where that would be too much to hold
    share       (L,) what the query gives to all prompts together, mean over heads
    rollout     (L, gh, gw) and rolled (L, 2), as in `Attention`
    """

    patches: np.ndarray
    to_prompts: np.ndarray
    to_self: np.ndarray
    received: np.ndarray
    prompt_rows: np.ndarray
    share: np.ndarray
    rollout: np.ndarray
    rolled: np.ndarray


@dataclass(frozen=True)
class Atlas:
    """Attention over a number of `images`: their mean, and the standard deviation between them. `prompts`: p by layer."""

    images: int
    mean: Shares
    spread: Shares
    prompts: tuple[int, ...]
    query: str


class _Sums:
    """Sums and sums of squares in float64: images are added one batch at a time, and sets to sets."""

    def __init__(self) -> None:
        self.images = 0
        self.sums: dict[str, np.ndarray] = {}
        self.squares: dict[str, np.ndarray] = {}

    def add(self, found: dict[str, np.ndarray]) -> None:
        """Numbers of a batch, (B, ...) each."""
        self.images += len(next(iter(found.values())))
        for name, values in found.items():
            wide = values.astype(np.float64)
            self.sums[name] = self.sums.get(name, 0) + wide.sum(axis=0)
            self.squares[name] = self.squares.get(name, 0) + (wide**2).sum(axis=0)

    def atlas(self, prompts: tuple[int, ...], query: str) -> Atlas:
        mean = {name: total / self.images for name, total in self.sums.items()}
        spread = {name: np.sqrt(np.maximum(0, self.squares[name] / self.images - mean[name] ** 2)) for name in mean}
        return Atlas(self.images, _shares(mean), _shares(spread), prompts, query)


def _shares(found: dict[str, np.ndarray]) -> Shares:
    return Shares(**{field.name: found[field.name].astype(np.float32) for field in fields(Shares)})


def read_atlas(model: Model, pixels: np.ndarray, labels: np.ndarray) -> Generator[int, None, dict[int | None, Atlas]]:
    """Attention of images (N, S, S, 3) uint8 at the model's image size with labels (N,): of each class, and of all (None).

    Yields how many images are done; the atlases are what it returns (`yield from`, or `drain`). Raises `UserError` for no
    images, and when the backbone is no vision transformer with standard attention.
    """
    if not len(pixels):
        raise UserError("There are no images to read the attention of. Choose a task with test images.")
    sums: dict[int | None, _Sums] = {None: _Sums()}
    sets = 1 + len(np.unique(labels))
    for first in range(0, len(pixels), BATCH):
        found = _measure(model, pixels[first : first + BATCH], MOST_ROWS // sets)
        mine = labels[first : first + BATCH]
        sums[None].add(found)
        for label in np.unique(mine).tolist():
            sums.setdefault(label, _Sums()).add({name: values[mine == label] for name, values in found.items()})
        yield min(first + BATCH, len(pixels))
    prompts, query = prompt_counts(model), query_name(model)
    return {label: one.atlas(prompts, query) for label, one in sums.items()}


@torch.no_grad()
def _measure(model: Model, pixels: np.ndarray, most_rows: int) -> dict[str, np.ndarray]:
    """The fields of `Shares` for each of B images, (B, ...); prompts' own rows where these are `most_rows` numbers at most."""
    most, rollout, grid = max(prompt_counts(model)), Rollout(), grid_of(model, pixels.shape[1])
    parts: dict[str, list[Tensor]] = {field.name: [] for field in fields(Shares)}
    for layer in record(model, pixels):
        query, rolled = layer.query, rollout.step(layer)
        parts["patches"].append(query[..., layer.first :].unflatten(2, grid))
        parts["to_prompts"].append(F.pad(layer.to_prompts, (0, most - layer.prompts)))
        parts["to_self"].append(query[..., : layer.prefix].sum(dim=2))
        parts["received"].append(F.pad(layer.received, (0, most - layer.prompts)))
        rows = F.pad(layer.prompt_rows, (0, 0, 0, most - layer.prompts))  # (B, H, P, m)
        fit = rows[0].numel() * model.backbone.depth <= most_rows
        parts["prompt_rows"].append(rows[:, :, : most if fit else 0].unflatten(3, grid))
        parts["share"].append(layer.to_prompts.sum(dim=2).mean(dim=1))
        parts["rollout"].append(rolled[:, 2:].unflatten(1, grid))
        parts["rolled"].append(rolled[:, :2])
    return {name: torch.stack(values, dim=1).numpy() for name, values in parts.items()}


def prompt_counts(model: Model) -> tuple[int, ...]:
    """Number of prompt tokens in each layer of a ViT."""
    method, layers = model.method, range(1, model.backbone.depth + 1)
    return tuple(method.count_in(i) if isinstance(method, Prompted) else 0 for i in layers)
