"""Maps over pictures: an array of values over an image, as an image."""

from __future__ import annotations

import numpy as np
from PIL import Image

FOR, AGAINST = (13, 148, 136), (220, 38, 38)
"""Colours of values above and below 0, those of right and wrong in the charts."""
STRONGEST = 0.85  # cover of the largest value
_PAPER = 0.45  # how much of the way to light grey the picture fades, so that colours of the map stand out


def overlay(image: np.ndarray, values: np.ndarray, side: int = 336, most: float | None = None) -> np.ndarray:
    """A picture (side, side, 3) uint8: `image` (S, S, 3) uint8 in pale grey, `values` (h, w) over it in colour.

    Values above 0 are teal, those below red, the stronger the further from 0; `most` has full strength, by default the
    largest size among the values. A map of every pixel is smoothed a little, cells of a coarse one stay squares.
    """
    grey = np.asarray(Image.fromarray(image).convert("L").resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32)
    ground = np.repeat((grey + _PAPER * (235 - grey))[..., None], 3, axis=2)
    fine = values.shape[0] == image.shape[0]
    drawn = _smoothed(values) if fine else values
    most = float(np.abs(drawn).max()) if most is None else most
    way = Image.Resampling.BICUBIC if fine else Image.Resampling.NEAREST
    level = np.asarray(Image.fromarray((drawn / (most or 1)).astype(np.float32)).resize((side, side), way))[..., None]
    ink = np.where(level > 0, np.float32(FOR), np.float32(AGAINST))
    cover = STRONGEST * np.clip(np.abs(level), 0, 1)
    return (ground + cover * (ink - ground) + 0.5).astype(np.uint8)


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Values (S, S) averaged over windows of some S / 28 pixels: single pixels would be a speckle that no eye can read."""
    reach = max(1, round(len(values) / 56))
    padded = np.pad(values.astype(np.float64), reach, mode="edge")
    width = 2 * reach + 1
    windows = np.lib.stride_tricks.sliding_window_view(padded, (width, width))
    return windows.mean(axis=(2, 3))
