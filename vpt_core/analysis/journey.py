"""The way of images through a tuning: their features in the frozen model, after each kept epoch and at the end."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence

import numpy as np
import torch

from vpt_core.analysis.layers import read_layers
from vpt_core.backbones import to_pixels
from vpt_core.embed import EVAL_BATCH
from vpt_core.model import Model


def follow(models: Iterable[Model], pixels: np.ndarray, states: int,
           layers: Sequence[int] = ()) -> Generator[tuple[int, int], None, np.ndarray]:
    """Features (E, N, d) float32 of images (N, S, S, 3) uint8, at the models' size, in each of `states` models, in order.

    Models come one by one, so that an iterator may load each from its file when it is its turn:
    `follow([before_tuning(tuned), *epochs, tuned], pixels, 2 + len(epochs))`. With K `layers` they are (E, K, N, d), those
    after each of these (`read_layers`). Yields how many images of how many are done; whoever stops asking stops the work.
    """
    total = states * len(pixels)
    found = []
    for state, model in enumerate(models):
        model.eval()
        parts = []
        for first in range(0, len(pixels), EVAL_BATCH):
            batch = to_pixels(pixels[first : first + EVAL_BATCH])
            parts.append(read_layers(model, batch, layers).numpy() if layers else _features(model, batch))
            yield state * len(pixels) + first + len(batch), total
        found.append(np.concatenate(parts, axis=-2))
    return np.stack(found)


# no_grad stands here and not round the generator: its caller must not find gradients off while it pauses.
@torch.no_grad()
def _features(model: Model, pixels: torch.Tensor) -> np.ndarray:
    return model.run(pixels).numpy()
