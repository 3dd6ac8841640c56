"""From uint8 pixels to what a model needs: frozen stages once, cached where that pays."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vpt_core.backbones import to_pixels
from vpt_core.model import Model

EVAL_BATCH = 64
CACHE_BYTES = 2 * 1024**3
Result = TypeVar("Result")


@dataclass(frozen=True)
class Feed:
    """Images ready for `Model.forward(x, start)`: pixels (start = 0) or the outputs of the frozen leading stages."""

    x: np.ndarray | Tensor  # (N, S, S, 3) uint8, or (N, ...) float as it enters stage `start`
    labels: Tensor  # (N,) int64
    start: int

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Input of stage `start` and labels (B,) of the images in `index`."""
        x = to_pixels(self.x[index.numpy()]) if self.start == 0 else self.x[index]
        return x, self.labels[index]

    def batches(self, size: int = EVAL_BATCH) -> Iterator[tuple[Tensor, Tensor]]:
        for first in range(0, len(self), size):
            yield self.batch(torch.arange(first, min(first + size, len(self))))


def feed(model: Model, pixels: np.ndarray, labels: np.ndarray) -> Generator[int, None, Feed]:
    """A `Feed` of uint8 pixels (N, S, S, 3), past the stages that training never changes where caching them pays.

    It pays when at least one block is skipped and the outputs fit in `CACHE_BYTES`; the stem alone is under 1 % of the
    work. Yields how many images are done; the feed is what it returns (`yield from`, or `drain`).
    """
    live = Feed(pixels, torch.from_numpy(np.ascontiguousarray(labels)), 0)
    cut = model.method.cut
    if cut < 2 or not len(live):
        return live
    one = _run(model, live.batch(torch.tensor([0]))[0], 0, cut)
    if one.numel() * one.element_size() * len(live) > CACHE_BYTES:
        return live
    parts = []
    for x, _ in live.batches():
        parts.append(_run(model, x, 0, cut))
        yield sum(map(len, parts))
    return Feed(torch.cat(parts), live.labels, cut)


def features_and_logits(model: Model, data: Feed) -> Generator[int, None, tuple[Tensor, Tensor]]:
    """Features (N, d) and logits (N, classes) in eval mode. Yields how many images are done, returns both."""
    model.eval()
    parts = [torch.empty(0, model.head.in_features)]
    for x, _ in data.batches():
        parts.append(_run(model, x, data.start, None))
        yield sum(map(len, parts))
    features = torch.cat(parts)
    with torch.no_grad():
        return features, model.head(features)


# no_grad stands here and not round a generator: a generator may pause, and its caller must not find gradients off.
@torch.no_grad()
def _run(model: Model, x: Tensor, start: int, stop: int | None) -> Tensor:
    return model.run(x, start, stop)


def drain(work: Generator[int, None, Result]) -> Result:
    """Run `work` to its end and give what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return end.value
