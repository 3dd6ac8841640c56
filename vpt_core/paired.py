"""Two classifiers on the same images: is one better, or is it chance? Standard library and NumPy only."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np


@dataclass(frozen=True)
class Paired:
    """Images that only the first and only the second got right, and the two-sided p-value of the exact McNemar test."""

    only_a: int
    only_b: int
    p_value: float


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> Paired:
    """Compare what two classifiers got right, bool (N,) each, image by image.

    The exact test (McNemar 1947, with binomial probabilities): where only one of them is right, each is as likely to be
    that one if neither is better. 1.0 when they never differ.
    """
    only_a = int((right_a & ~right_b).sum())
    only_b = int((right_b & ~right_a).sum())
    n = only_a + only_b
    tail = sum(comb(n, k) for k in range(min(only_a, only_b) + 1))
    return Paired(only_a, only_b, min(1.0, 2 * tail / 2**n))
