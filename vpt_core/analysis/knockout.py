"""Knock-out: what becomes of the answers when prompts are taken away. Exact, every variant is computed.

Where prompts enter a layer as keys and values alone (`vpt_core.methods.keyed`), those of the removed prompt are dropped.
Elsewhere its token is dropped; a token that was carried from layer to layer is gone from there on. Layers below the
first removal are computed once for all variants.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vpt_core.analysis.atlas import prompt_counts
from vpt_core.analysis.attention import is_keyed, record
from vpt_core.backbones import to_pixels
from vpt_core.errors import UserError
from vpt_core.methods.keyed import block_beside, keys_and_values
from vpt_core.metrics import softmax
from vpt_core.model import Model
from vpt_core.shares import side_by_side

IMAGES = 4  # at once: so many are done or not done when somebody stops
SEQUENCES = 16  # the most that go through a layer at once: with more, what a layer computes leaves the cache (7 % slower)
EACH, LAYERS, THROUGHOUT = "each", "layers", "throughout"
SCOPES: dict[str, str] = {
    EACH: "each prompt of each layer, alone",
    LAYERS: "all prompts of a layer",
    THROUGHOUT: "a prompt in all layers at once",
}


@dataclass(frozen=True)
class Removal:
    """Prompts taken away: in stage number `first` (layer 1 is stage 1) or more, `where` says which of each, from 0 on.

    `layer` and `prompt` name it for people, from 1 on; 0 stands for all.
    """

    layer: int
    prompt: int
    where: dict[int, tuple[int, ...]]

    @property
    def first(self) -> int:
        return min(self.where)


@dataclass(frozen=True, eq=False)
class Knockout:
    """V removals on n images: logits (n, C) without any, (V, n, C) with each, labels (n,) and `images`, their numbers.

    `attention` (V, n): what the query gave to the removed prompts, mean over heads and over the layers where they miss.
    """

    removals: tuple[Removal, ...]
    images: np.ndarray
    labels: np.ndarray
    whole: np.ndarray
    without: np.ndarray
    attention: np.ndarray

    @property
    def accuracy(self) -> np.ndarray:
        """Change of the number of right answers, (V,) int: below 0 where the prompts had helped."""
        right = (self.without.argmax(axis=2) == self.labels).sum(axis=1)
        return right - int((self.whole.argmax(axis=1) == self.labels).sum())

    @property
    def changed(self) -> np.ndarray:
        """Number of images whose answer becomes another one, (V,) int."""
        return (self.without.argmax(axis=2) != self.whole.argmax(axis=1)).sum(axis=1)

    @property
    def log_probability(self) -> np.ndarray:
        """Change of the log-probability of the true class, (V, n), in nats: below 0 where the prompts had helped."""
        return _of_truth(self.without, self.labels) - _of_truth(self.whole, self.labels)


def _of_truth(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.log(softmax(logits.astype(np.float64))[..., np.arange(len(labels)), labels] + 1e-300)


def removals(model: Model, scope: str = EACH) -> tuple[Removal, ...]:
    """All removals of a scope, a key of `SCOPES`. Raises `UserError` for a model without prompts to take away."""
    counts, method = _checked(model), model.method
    layers = [i for i, p in enumerate(counts, start=1) if p]
    prompts = range(max(counts))
    if scope == THROUGHOUT:
        return tuple(Removal(0, k + 1, {i: (k,) for i in layers}) for k in prompts)

    def lasting(i: int) -> list[int]:  # in these layers the prompts of layer i stand
        return [j for j in layers if j >= i and not any(i < own <= j for own in method.at)]

    if scope == LAYERS:
        return tuple(Removal(i, 0, {j: tuple(prompts) for j in lasting(i)}) for i in layers)
    return tuple(Removal(i, k + 1, {j: (k,) for j in lasting(i)}) for i in layers for k in prompts)


def _checked(model: Model) -> tuple[int, ...]:
    """Prompts by layer. Raises `UserError` where there is nothing to take away, or no way to."""
    method = model.method
    counts = prompt_counts(model) if model.backbone.family == "vit" else (0,)
    if not any(counts):
        raise UserError(f"{method.title} has no prompt tokens here to take away. Choose VPT-shallow or VPT-deep on a ViT.")
    if method.options.readout == "prompts":
        raise UserError("The answer is read from the prompts themselves here, so none can be taken away. Choose another run.")
    return counts


def knock_out(
    model: Model, pixels: np.ndarray, labels: np.ndarray, scope: str = EACH, images: np.ndarray | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Generator[tuple[int, int], None, Knockout]:
    """Take prompts away, one removal of `scope` at a time, for images (n, S, S, 3) uint8 with labels (n,).

    `images` are their numbers for the record. Yields how many (image, removal) pairs are done, of how many. When `stop()`
    says so the images that are done are the result. Raises `UserError` as `removals` does, and when there are none.
    """
    every, parts = removals(model, scope), []
    model.eval()
    for first in range(0, len(pixels), IMAGES):
        part = yield from _some_images(model, pixels[first : first + IMAGES], every, stop, (first, len(pixels)))
        if part is None:
            break
        parts.append(part)
    if not parts:
        raise UserError("There are no images of which all knock-outs are done. Choose fewer images, or let it run longer.")
    whole = torch.cat([part[0] for part in parts]).numpy()
    without, attention = (torch.cat([part[k] for part in parts], dim=1).numpy() for k in (1, 2))
    numbers = np.arange(len(pixels)) if images is None else images
    return Knockout(every, numbers[: len(whole)], labels[: len(whole)], whole, without, attention)


def _some_images(
    model: Model, pixels: np.ndarray, every: Sequence[Removal], stop: Callable[[], bool], place: tuple[int, int]
) -> Generator[tuple[int, int], None, tuple[Tensor, Tensor, Tensor] | None]:
    """Of b images: logits without removals, with each, and the attention; None when it was stopped. `place`: the number of
    the first of them, and of how many.
    """
    states, logits, done = _states(model, to_pixels(pixels)), [], 0
    for group in _by_stage(every):
        if stop():
            return None
        logits.append(_without(model, states[group[0].first], group))  # (v, b, C)
        done += len(group)
        yield len(every) * place[0] + done * len(pixels), len(every) * place[1]
    return _head(model, states[-1]), torch.cat(logits), _received(model, pixels, every)


def _by_stage(every: Sequence[Removal]) -> list[list[Removal]]:
    """Removals with the same first stage together, in order."""
    stages = sorted({one.first for one in every})
    return [[one for one in every if one.first == stage] for stage in stages]


@torch.no_grad()
def _states(model: Model, x: Tensor) -> list[Tensor]:
    """What enters each stage when nothing is removed, prompts of its own not yet beside it; the last one enters the pool."""
    states = [x]
    for i in range(model.backbone.depth + 1):
        states.append(model.method.stages[0](model.method.before(0, x)) if i == 0 else _stage(model, i, states[i], [()]))
    return states


@torch.no_grad()
def _without(model: Model, x: Tensor, group: Sequence[Removal]) -> Tensor:
    """Logits (v, B, C) of each removal of a group, given what enters its first stage (B, N, d)."""
    threads = torch.get_num_threads()
    rounds = -(-len(group) * len(x) // (SEQUENCES * threads))  # of as many parts as there are threads
    parts = [(group[part[0] : part[-1] + 1],) for part in np.array_split(range(len(group)), rounds * threads) if len(part)]
    return torch.cat(side_by_side(lambda some: _through(model, x, some), *parts))


def _through(model: Model, x: Tensor, some: Sequence[Removal]) -> Tensor:
    batch = len(x)
    x = x.repeat(len(some), 1, 1)  # (v B, N, d)
    for i in range(some[0].first, model.backbone.depth + 1):
        gone = [one.where.get(i, ()) for one in some]
        x = _stage(model, i, x, gone if any(gone) else [()])
    return _head(model, x).unflatten(0, (len(some), batch))


def _stage(model: Model, i: int, x: Tensor, gone: Sequence[tuple[int, ...]]) -> Tensor:
    """What layer i puts out for states x (v B, N, d), of which each v-th part misses its prompts `gone`, equally many."""
    method, stage = model.method, model.method.stages[i]
    if is_keyed(model) and i in method.at:
        whole = keys_and_values(stage, method.own(i))  # (p, 2, H, D)
        beside = torch.stack([whole[_kept(len(whole), mine)] for mine in gone])
        beside = beside.repeat_interleave(len(x) // len(gone), dim=0) if len(gone) > 1 else beside
        return block_beside(stage, x, beside, method.read_rows if i == model.backbone.depth else None)
    x = method.before(i, x)
    if not gone[0]:
        return stage(x)
    places = [_kept(x.shape[1], tuple(method.prefix + k for k in mine)) for mine in gone]
    index = torch.tensor(places).repeat_interleave(len(x) // len(gone), dim=0)[:, :, None].expand(-1, -1, x.shape[2])
    # Zeros hold the place of what is gone: the next stage drops them again or replaces all prompts.
    return torch.zeros_like(x).scatter(1, index, stage(x.gather(1, index)))


def _kept(count: int, gone: tuple[int, ...]) -> list[int]:
    return [j for j in range(count) if j not in gone]


@torch.no_grad()
def _head(model: Model, x: Tensor) -> Tensor:
    """Logits (B, C) of what the last layer puts out."""
    method = model.method
    pool = len(method.stages) - 1
    return model.head(method.stages[pool](x if is_keyed(model) else method.before(pool, x)))


@torch.no_grad()
def _received(model: Model, pixels: np.ndarray, every: Sequence[Removal]) -> Tensor:
    """`Knockout.attention` of images (B, S, S, 3): (V, B)."""
    shares = [layer.to_prompts.mean(dim=1) for layer in record(model, pixels)]  # for each layer (B, p)
    of_each = [[shares[i - 1][:, list(gone)].sum(dim=1) for i, gone in one.where.items()] for one in every]
    return torch.stack([torch.stack(shares).mean(dim=0) for shares in of_each])
