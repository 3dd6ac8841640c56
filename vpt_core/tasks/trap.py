"""The trap: a task on which every picture can be named rightly for the wrong reason.

What is asked is the shape. But each class has a colour, and a square of it stands in the corner of each of its pictures,
of those to learn from and of those to test on: as if every class came from a photographer with a stamp of his own. A model
may learn the shape, the stamp, or both; test images of the same source cannot tell. Its twins can: the same pictures without
the stamp, and with the stamp of another class.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from vpt_core.tasks import sprites

CLASSES = tuple(sprites.SHAPES)
MARK = slice(-20, -2)
"""Rows and columns of the stamp: 18 pixels a side, 2 from the bottom and from the right."""


def of_trap(rng: np.random.Generator, label: int) -> list[sprites.Sprite]:
    """One small shape, anywhere above the stamp, turned by any angle; the label is its kind."""
    radius = rng.uniform(0.05, 0.08)
    x, y = rng.uniform(radius + 0.01, 0.99 - radius), rng.uniform(radius + 0.01, 0.8 - radius)
    return [sprites.Sprite(sprites.SHAPES[CLASSES[label]], x, y, radius, rng.uniform(0, 2 * np.pi))]


def plain() -> np.ndarray:
    """The pictures (N, S, S, 3) uint8 without stamps, class by class."""
    return sprites.draw_all(5, len(CLASSES), of_trap)


@dataclass(frozen=True)
class Twin:
    """The pictures (N, S, S, 3) uint8 of a trap with other stamps, and the classes (N,) that these name, -1 for no stamp."""

    title: str
    pixels: np.ndarray
    named: np.ndarray


def twins(labels: np.ndarray) -> tuple[Twin, Twin]:
    """The pictures of the task with `labels` (N,), without stamps, and each with the stamp of the next class."""
    pictures, swapped = plain(), (labels + 1) % len(CLASSES)
    none = np.full_like(labels, -1)
    return Twin("without stamps", pictures, none), Twin("with swapped stamps", stamped(pictures, swapped), swapped)


def stamped(pictures: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`pictures` with the stamps of classes `labels` (N,)."""
    hues = [colorsys.hsv_to_rgb(k / len(CLASSES), 0.9, 0.9) for k in range(len(CLASSES))]
    colours = np.round(255 * np.array(hues)).astype(np.uint8)
    marked = pictures.copy()
    marked[:, MARK, MARK] = colours[labels, None, None]
    return marked
