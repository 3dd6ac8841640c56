"""Tasks drawn by code: shapes on a ground, one thing to tell and everything else varied.

In the spirit of dSprites (Matthey et al. 2017): what is asked is geometry, so a backbone that has learned *what* a picture
shows but not *where* or *how many* has to be tuned. Every picture follows from the fixed seed of its task.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

SIZE = 112  # pixels a side
POOL, TEST = 60, 30  # images a class: to draw training and validation from, and to test on

_FINE = 3  # shapes are drawn this many times larger and averaged, which smooths their edges

_Points = list[tuple[float, float]]


def _polygon(corners: int, inner: float = 1.0) -> _Points:
    """A regular polygon with its first corner to the right; with `inner` < 1 a star, each second corner pulled in."""
    radii = [1.0 if i % 2 == 0 or inner == 1.0 else inner for i in range(corners)]
    return [(r * math.cos(2 * math.pi * i / corners), r * math.sin(2 * math.pi * i / corners)) for i, r in enumerate(radii)]


def _heart() -> _Points:
    steps = [2 * math.pi * i / 40 for i in range(40)]
    high = [13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t) for t in steps]
    return [(y / 17, 16 / 17 * math.sin(t) ** 3) for y, t in zip(high, steps, strict=True)]


def _cross() -> _Points:
    quarter = [(3, 1), (1, 1), (1, 3)]
    turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]  # cosine and sine of each quarter turn
    return [(0.31 * (c * x - s * y), 0.31 * (s * x + c * y)) for c, s in turns for x, y in quarter]


SHAPES: dict[str, _Points] = {
    "circle": _polygon(48),
    "square": _polygon(4),
    "triangle": _polygon(3),
    "star": _polygon(10, 0.42),
    "heart": _heart(),
    "cross": _cross(),
}
"""Outlines within the unit circle, y upwards."""

ARROW: _Points = [(1.0, 0.0), (-0.1, 0.75), (-0.1, 0.3), (-0.95, 0.3), (-0.95, -0.3), (-0.1, -0.3), (-0.1, -0.75)]

ANGLES = tuple(f"{45 * i}°" for i in range(8))
CELLS = ("top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right")
NUMBERS = ("1 object", *(f"{n} objects" for n in range(2, 7)))


@dataclass(frozen=True)
class Sprite:
    """One outline at (x, y), y downwards, with a radius, all in shares of the picture; angle in radians, anticlockwise."""

    outline: _Points
    x: float
    y: float
    radius: float
    angle: float


def of_shape(rng: np.random.Generator, label: int) -> list[Sprite]:
    """One shape, anywhere, of any size, turned by any angle; the label is its kind."""
    outline = list(SHAPES.values())[label]
    return [_somewhere(rng, outline, rng.uniform(0.12, 0.3), rng.uniform(0, 2 * math.pi))]


def of_orientation(rng: np.random.Generator, label: int) -> list[Sprite]:
    """One arrow, anywhere, of any size; the label is where it points, in steps of 45° from the right, give or take 12°."""
    return [_somewhere(rng, ARROW, rng.uniform(0.12, 0.3), math.radians(45 * label + rng.uniform(-12, 12)))]


def of_position(rng: np.random.Generator, label: int) -> list[Sprite]:
    """One shape of any kind; the label is the cell of a 3 x 3 grid that its centre lies in, row by row."""
    x, y = ((cell + rng.uniform(0.15, 0.85)) / 3 for cell in (label % 3, label // 3))
    return [Sprite(_any_shape(rng), x, y, rng.uniform(0.07, 0.13), rng.uniform(0, 2 * math.pi))]


def of_count(rng: np.random.Generator, label: int) -> list[Sprite]:
    """`label` + 1 shapes of one kind or of several, none touching another."""
    one_kind, mixed = _any_shape(rng), rng.random() < 0.5
    sprites: list[Sprite] = []
    while len(sprites) <= label:
        outline = _any_shape(rng) if mixed else one_kind
        new = _somewhere(rng, outline, rng.uniform(0.06, 0.12), rng.uniform(0, 2 * math.pi))
        if all(math.dist((new.x, new.y), (old.x, old.y)) > new.radius + old.radius + 0.02 for old in sprites):
            sprites.append(new)
    return sprites


def _any_shape(rng: np.random.Generator) -> _Points:
    return list(SHAPES.values())[rng.integers(len(SHAPES))]


def _somewhere(rng: np.random.Generator, outline: _Points, radius: float, angle: float) -> Sprite:
    """A sprite that lies wholly within the picture."""
    x, y = rng.uniform(radius + 0.01, 0.99 - radius, size=2)
    return Sprite(outline, float(x), float(y), radius, angle)


def draw_all(seed: int, classes: int, scene: Callable[[np.random.Generator, int], list[Sprite]]) -> np.ndarray:
    """(classes * (POOL + TEST), SIZE, SIZE, 3) uint8: POOL + TEST pictures of class 0, then of class 1, and so on."""
    rng = np.random.default_rng(seed)
    pixels = np.empty((classes * (POOL + TEST), SIZE, SIZE, 3), dtype=np.uint8)
    for i in range(len(pixels)):
        pixels[i] = draw(rng, scene(rng, i // (POOL + TEST)))
    return pixels


def draw(rng: np.random.Generator, sprites: list[Sprite]) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: `sprites`, each in a colour of its own, on a ground that shades from one colour to another."""
    bright = bool(rng.random() < 0.5)
    picture = _ground(rng, bright)
    for sprite in sprites:
        rows, columns, cover = _cover(sprite)
        picture[rows, columns] += cover[:, :, None] * (_colour(rng, not bright) - picture[rows, columns])
    return (255 * np.clip(picture, 0, 1) + 0.5).astype(np.uint8)


def _ground(rng: np.random.Generator, bright: bool) -> np.ndarray:
    """(SIZE, SIZE, 3) float32 in 0..1: a slope in any direction, with grain."""
    start, end = _colour(rng, bright), _colour(rng, bright)
    angle = rng.uniform(0, 2 * math.pi)
    across = np.linspace(-0.5, 0.5, SIZE, dtype=np.float32)
    slope = 0.5 + 0.7 * (across[None, :] * np.float32(math.cos(angle)) + across[:, None] * np.float32(math.sin(angle)))
    grain = rng.normal(0, 0.02, (SIZE, SIZE, 1)).astype(np.float32)
    return start + slope[:, :, None] * (end - start) + grain


def _colour(rng: np.random.Generator, bright: bool) -> np.ndarray:
    """(3,) float32: any hue; bright and pale or dark and full, so that a shape stands out from its ground."""
    saturation = rng.uniform(0.1, 0.6) if bright else rng.uniform(0.3, 1.0)
    value = rng.uniform(0.8, 1.0) if bright else rng.uniform(0.1, 0.5)
    return np.array(colorsys.hsv_to_rgb(rng.random(), saturation, value), dtype=np.float32)


def _cover(sprite: Sprite) -> tuple[slice, slice, np.ndarray]:
    """The rows and columns that the sprite lies in, and the share (rows, columns) float32 of each pixel that it covers."""
    left, top = (max(0, math.floor(SIZE * (centre - sprite.radius)) - 1) for centre in (sprite.x, sprite.y))
    right, bottom = (min(SIZE, math.ceil(SIZE * (centre + sprite.radius)) + 1) for centre in (sprite.x, sprite.y))
    cos, sin = sprite.radius * math.cos(sprite.angle), sprite.radius * math.sin(sprite.angle)
    turned = [(sprite.x + cos * x - sin * y, sprite.y - sin * x - cos * y) for x, y in sprite.outline]
    corners = [(_FINE * (SIZE * x - left), _FINE * (SIZE * y - top)) for x, y in turned]
    fine = Image.new("L", (_FINE * (right - left), _FINE * (bottom - top)))
    ImageDraw.Draw(fine).polygon(corners, fill=255)
    return slice(top, bottom), slice(left, right), np.asarray(fine.reduce(_FINE), dtype=np.float32) / 255
