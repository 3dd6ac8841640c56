"""The exact McNemar test."""

from __future__ import annotations

import numpy as np
import pytest

from vpt_core.paired import mcnemar


def _pair(only_a: int, only_b: int, both: int = 3) -> tuple[np.ndarray, np.ndarray]:
    a = np.array([True] * only_a + [False] * only_b + [True] * both)
    b = np.array([False] * only_a + [True] * only_b + [True] * both)
    return a, b


# Two-sided binomial tails at 1/2, by hand: 2 * (1 + 10 + 45) / 2^10 and so on.
BY_HAND = [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (8, 2, 112 / 1024), (2, 8, 112 / 1024), (4, 4, 1.0)]


@pytest.mark.parametrize("a, b, p", BY_HAND)
def test_mcnemar(a, b, p):
    result = mcnemar(*_pair(a, b))
    assert (result.only_a, result.only_b) == (a, b)
    assert result.p_value == pytest.approx(p)


def test_images_that_both_get_right_or_wrong_do_not_count():
    assert mcnemar(*_pair(8, 2, both=0)) == mcnemar(*_pair(8, 2, both=500))


def test_mcnemar_of_many_images_is_exact_and_finite():
    result = mcnemar(*_pair(3000, 2000))
    assert 0 < result.p_value < 1e-40
