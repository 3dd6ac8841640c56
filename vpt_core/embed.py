"""From uint8 pixels to what a model needs: frozen stages once, cached where that pays."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from vpt_core.backbones import to_pixels
from vpt_core.model import Model

EVAL_BATCH = 16  # with more images what a layer computes leaves the processor's cache: 64 at 224 px took a fifth longer each
CACHE_BYTES = 2 * 1024**3  # in memory; larger caches lie in a file
DISK_BYTES = 40 * 1024**3
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


def feed(model: Model, pixels: np.ndarray, labels: np.ndarray, cache: bool = True) -> Generator[int, None, Feed]:
    """A `Feed` of uint8 pixels (N, S, S, 3), past the stages that training never changes where caching them pays.

    It pays when at least one block is skipped and there is room for the outputs: up to `CACHE_BYTES` in memory, up to
    `DISK_BYTES` in a nameless file that is mapped into memory, if half of the free disk is enough; the stem alone is
    under 1 % of the work. Yields how many images are done; the feed is what it returns (`yield from`, or `drain`).
    """
    model.eval()
    live = Feed(pixels, torch.from_numpy(np.ascontiguousarray(labels)), 0)
    cut = model.method.cut
    if cut < 2 or not len(live) or not cache:
        return live
    one = _run(model, live.batch(torch.tensor([0]))[0], 0, cut)
    outputs = _room_for(len(live), one)
    if outputs is None:
        return live
    done = 0
    for x, _ in live.batches():
        outputs[done : done + len(x)] = _run(model, x, 0, cut)
        done += len(x)
        yield done
    return Feed(outputs, live.labels, cut)


def _room_for(images: int, one: Tensor) -> Tensor | None:
    """An empty tensor (images, ...) for outputs like `one` (1, ...): in memory, in a file, or none where there is no room."""
    size = images * one.numel() * one.element_size()
    shape = (images, *one.shape[1:])
    if size <= CACHE_BYTES:
        return torch.empty(shape, dtype=one.dtype)
    if size > min(DISK_BYTES, shutil.disk_usage(tempfile.gettempdir()).free // 2):
        return None
    with tempfile.TemporaryFile() as file:  # the mapping keeps it; it is gone with the tensor
        return torch.from_numpy(np.memmap(file, one.numpy().dtype, "w+", shape=shape))


def features_and_logits(model: Model, data: Feed) -> Generator[int, None, tuple[Tensor, Tensor]]:
    """Features (N, d) and logits (N, classes) in eval mode, on the processor. Yields how many images are done, returns both."""
    model.eval()
    parts = [torch.empty(0, model.head.in_features, device=model.head.weight.device)]
    for x, _ in data.batches():
        parts.append(_run(model, x, data.start, None).float())
        yield sum(map(len, parts))
    features = torch.cat(parts)
    with torch.no_grad():
        return features.cpu(), model.head(features).cpu()


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
