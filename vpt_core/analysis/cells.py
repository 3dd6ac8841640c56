"""What attribution and its test share: the score that is explained, the cells of an image, and images without content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from vpt_core.backbones import Backbone, to_pixels
from vpt_core.errors import UserError
from vpt_core.model import Model
from vpt_core.table import Table

BATCH = 16
"""Images at once without gradients; with them it is `STEP_BATCH`. So much memory is needed, whatever the steps."""
STEP_BATCH = 4


@dataclass(frozen=True)
class Baseline:
    """A row of `BASELINES`: an image without content to hold an image against; `make` takes and gives (S, S, 3) uint8."""

    name: str
    title: str
    about: str
    make: Callable[[np.ndarray], np.ndarray]


def _mean(image: np.ndarray) -> np.ndarray:
    return np.broadcast_to(image.mean(axis=(0, 1)).round().astype(np.uint8), image.shape)


def _blurred(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(len(image) / 8)))


_BASELINES = (
    Baseline("mean", "mean colour", "the image's own mean colour everywhere: nothing of that very colour can matter", _mean),
    Baseline("black", "black", "black everywhere: nothing black can matter", np.zeros_like),
    Baseline("blurred", "blurred", "the image blurred over an eighth of its side: large areas of colour stay", _blurred),
)
BASELINES: Table[Baseline] = Table("baseline", {row.name: row for row in _BASELINES})
"""Attribution is always against something. Which image counts as nothing is a choice, and the map depends on it."""


class Margin:
    """The score that is explained: the logit of a class less the mean of all classes' logits, (B,) of pixels (B, 3, S, S).

    Probabilities do not change when all logits grow alike, so neither does this score; a single logit would. It is
    linear in the logits and, unlike a probability, does not saturate.
    """

    def __init__(self, model: Model, target: int) -> None:
        """Raises `UserError` when the model has no class `target`."""
        classes = model.head.out_features
        if not 0 <= target < classes:
            raise UserError(f"There is no class number {target}; this model has {classes}, numbered from 0.")
        self.model, self.target = model.eval(), target

    def __call__(self, x: Tensor) -> Tensor:
        return self.from_logits(self.model(x))

    def from_logits(self, logits: Tensor) -> Tensor:
        """The score (B,) of logits (B, classes)."""
        return logits[:, self.target] - logits.mean(dim=1)

    @torch.no_grad()
    def of(self, image: np.ndarray) -> float:
        """The score of one image (S, S, 3) uint8."""
        return float(self(to_pixels(image[None])))


def check_image(image: np.ndarray) -> None:
    """Raise `UserError` unless `image` is one square uint8 picture (S, S, 3)."""
    square = image.ndim == 3 and image.shape[0] == image.shape[1] and image.shape[2] == 3
    if not square or image.dtype != np.uint8:
        raise UserError(f"The image is {image.dtype} of shape {image.shape}; it has to be uint8 of shape (S, S, 3).")


def cells(backbone: Backbone, size: int) -> np.ndarray:
    """Number of the cell that each pixel is in, (size, size) int64, row by row from 0: the patches of a ViT, and squares of
    some 16 pixels for any other model.
    """
    side = max(1, isqrt(backbone.card.tokens(size)))
    line = np.arange(size) * side // size
    return line[:, None] * side + line[None, :]


def cell_sums(values: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Sums of `values` (S, S) over the cells, (g, g) float32."""
    side = isqrt(int(cell.max()) + 1)
    return np.bincount(cell.ravel(), values.ravel(), side * side).reshape(side, side).astype(np.float32)
