"""Which colour means what, the same in all charts."""

from __future__ import annotations

from app.components import COLOURS

RIGHT, WRONG, NEUTRAL = COLOURS[0], COLOURS[6], COLOURS[7]


def colour(index: int) -> str:
    """The colour of the run or class with this number."""
    return COLOURS[index % len(COLOURS)]


def faded(ink: str, alpha: float) -> str:
    """A colour #rrggbb that lets 1 - `alpha` of the ground through."""
    red, green, blue = (int(ink[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"
