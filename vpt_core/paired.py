"""Two classifiers on the same images: is one better, or is it chance? Standard library and NumPy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Paired:
    """Images on which the first and on which the second did better, and the two-sided p-value of `sign_flip`."""

    more_a: int
    more_b: int
    p_value: float


def sign_flip(right_a: np.ndarray, right_b: np.ndarray) -> Paired:
    """Compare two classifiers image by image, given how many seeds got each image right, bool or int (N,) each.

    The exact sign-flip (permutation) test of the sum of differences: if neither is better, each image's difference could
    as well have the other sign, and the p-value is the share of all 2^N sign patterns whose sum is as far from 0. The
    images are the unit: one image under several seeds is no second image. With one seed it is the exact McNemar test.

    It says whether other test images of the kind would tell the same, for these very models. It averages over their
    seeds and does not say what other seeds or other training images would give.
    """
    apart = right_a.astype(np.int64) - right_b.astype(np.int64)
    sizes, counts = np.unique(np.abs(apart[apart != 0]), return_counts=True)
    spread = np.ones(1)  # [k]: share of the sign patterns whose positive differences sum to k
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        kernel = np.zeros(size * count + 1)
        kernel[::size] = _binomial(count)
        spread = np.convolve(spread, kernel)
    far = (len(spread) - 1 - abs(int(apart.sum()))) // 2  # the smaller of the two sides; the spread is symmetric
    return Paired(int((apart > 0).sum()), int((apart < 0).sum()), min(1.0, 2 * float(spread[: far + 1].sum())))


def _binomial(n: int) -> list[float]:
    """Probabilities of 0 ... n heads of n fair coins, from whole numbers of any size."""
    ways, total, shares = 1, 2**n, []
    for k in range(n + 1):
        shares.append(ways / total)
        ways = ways * (n - k) // (k + 1)
    return shares


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values in the same order, raised for how many there are (Holm 1979): in 95 of 100 studies none that is chance alone
    falls below 0.05.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = largest
    return corrected


def p_text(p: float) -> str:
    """A p-value as papers print it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
