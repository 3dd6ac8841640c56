"""Deletion and insertion: whether a map of an image knows more than a random order of its patches (Petsiuk et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vpt_core.analysis.cells import BASELINES, BATCH, Margin, cells, check_image
from vpt_core.backbones import to_pixels
from vpt_core.errors import UserError
from vpt_core.model import Model

ORDERS, POINTS = 5, 8


@dataclass(frozen=True)
class Deletion:
    """The probability of a class while patches are taken out, or put into the baseline, in the order of a map.

    shares     (points + 1,) shares of the patches that were moved, from 0 to 1
    deletion   (points + 1,) probability with that share replaced by the baseline, the highest value of the map first
    insertion  (points + 1,) probability with that share alone shown on the baseline
    random_deletion, random_insertion   (orders, points + 1), the same for random orders
    """

    shares: np.ndarray
    deletion: np.ndarray
    insertion: np.ndarray
    random_deletion: np.ndarray
    random_insertion: np.ndarray

    @property
    def areas(self) -> tuple[float, float]:
        """Area under the curve of deletion (low is good) and of insertion (high is good), both from 0 to 1."""
        return float(_area(self.deletion, self.shares)), float(_area(self.insertion, self.shares))

    @property
    def random_areas(self) -> tuple[np.ndarray, np.ndarray]:
        """The same of each random order, (orders,) each."""
        return _area(self.random_deletion, self.shares), _area(self.random_insertion, self.shares)

    @property
    def beats(self) -> tuple[bool, bool]:
        """Whether the map does better than every random order, in deletion and in insertion."""
        (deletion, insertion), (falls, rises) = self.areas, self.random_areas
        return bool(deletion < falls.min()), bool(insertion > rises.max())

    @property
    def sentence(self) -> str:
        """Whether the map beats random here, with the figures."""
        (deletion, insertion), (falls, rises) = self.areas, self.random_areas
        said = {
            (True, True): "The map beats random order here, in deletion and in insertion",
            (True, False): "The map beats random order in deletion only: doubt it",
            (False, True): "The map beats random order in insertion only: doubt it",
            (False, False): "The map does not beat random order here: do not believe it",
        }[self.beats]
        count = len(falls)
        return (f"{said}. Taking its patches out first leaves a mean probability of {deletion:.2f} ({_spread(falls)} for "
                f"{count} random orders; lower is better), showing them first gives {insertion:.2f} ({_spread(rises)}; higher "
                f"is better). A random map would beat {count} random orders one time in {count + 1}.")


def delete_and_insert(model: Model, image: np.ndarray, target: int, patches: np.ndarray, baseline: str = "mean",
                      orders: int = ORDERS, points: int = POINTS, seed: int = 0) -> Deletion:
    """Deletion and insertion of `patches` (g, g), values of a map such as `Attribution.patches`, for class `target`.

    image: (S, S, 3) uint8 at the model's image size. Each of `points` steps moves as many patches as the next, give or take
    one. What replaces a patch is a choice (`baseline`, of `BASELINES`): the figures of two baselines do not compare.
    Raises `UserError` for an unknown baseline or class, another image, or a map whose cells are not the model's.
    """
    check_image(image)
    cell, score = cells(model.backbone, len(image)), Margin(model, target)
    count = int(cell.max()) + 1
    if patches.size != count or orders < 1 or points < 1:
        raise UserError(f"The map has {patches.size} patches, this image {count}, in {orders} random orders of {points} steps; "
                        "give a map of this image, 1 order or more and 1 step or more.")
    rng = np.random.default_rng(seed)
    ranks = [np.argsort(-patches.ravel(), kind="stable"), *(rng.permutation(count) for _ in range(orders))]
    moved = np.round(np.linspace(0, count, min(points, count) + 1)).astype(int)
    kept = np.stack([[~np.isin(np.arange(count), rank[:n]) for n in moved] for rank in ranks])
    both = np.stack([kept, ~kept])  # (2, orders + 1, points + 1, count) bool: the image shows there
    masks, which = np.unique(both.reshape(-1, count), axis=0, return_inverse=True)  # all orders begin and end alike
    chance = _probabilities(score, image, BASELINES[baseline].make(image), masks, cell)
    falls, rises = chance[which].reshape(both.shape[:3])
    return Deletion(moved / count, falls[0], rises[0], falls[1:], rises[1:])


@torch.no_grad()
def _probabilities(score: Margin, image: np.ndarray, empty: np.ndarray, masks: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Probability (M,) of the class for the image in the cells of `masks` (M, count), the baseline elsewhere."""
    parts = []
    for first in range(0, len(masks), BATCH):
        shown = masks[first : first + BATCH, cell]  # (B, S, S)
        mixed = np.where(shown[..., None], image, empty)
        parts.append(score.model(to_pixels(mixed)).softmax(dim=1)[:, score.target].numpy())
    return np.concatenate(parts)


def _area(curve: np.ndarray, shares: np.ndarray) -> np.ndarray:
    return np.trapezoid(curve, shares, axis=-1)


def _spread(areas: np.ndarray) -> str:
    return f"{areas.mean():.2f} ± {areas.std(ddof=1) if len(areas) > 1 else 0:.2f}"
