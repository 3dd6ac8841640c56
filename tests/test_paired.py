"""The exact paired test over images, Holm's correction, and the interval over several seeds."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest

from vpt_core.metrics import Score, seeds_interval
from vpt_core.paired import holm, p_text, sign_flip

RANDOM = np.random.default_rng(0)


def _pair(only_a: int, only_b: int, both: int = 3) -> tuple[np.ndarray, np.ndarray]:
    a = np.array([True] * only_a + [False] * only_b + [True] * both)
    b = np.array([False] * only_a + [True] * only_b + [True] * both)
    return a, b


def _mcnemar(only_a: int, only_b: int) -> float:
    """The exact McNemar test (McNemar 1947, with binomial probabilities)."""
    n = only_a + only_b
    return min(1.0, 2 * sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n)


# Two-sided binomial tails at 1/2, by hand: 2 * (1 + 10 + 45) / 2^10 and so on.
BY_HAND = [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 2 / 32), (8, 2, 112 / 1024), (2, 8, 112 / 1024), (4, 4, 1.0)]


@pytest.mark.parametrize("a, b, p", BY_HAND)
def test_with_one_seed_it_is_mcnemars_test_by_hand(a, b, p):
    result = sign_flip(*_pair(a, b))
    assert (result.more_a, result.more_b) == (a, b)
    assert result.p_value == pytest.approx(p) == _mcnemar(a, b)


def test_with_one_seed_it_is_mcnemars_test_on_random_cases():
    for a, b in RANDOM.integers(0, 60, (200, 2)).tolist():
        assert sign_flip(*_pair(a, b)).p_value == pytest.approx(_mcnemar(a, b), rel=1e-9)


def _by_all_signs(a: np.ndarray, b: np.ndarray) -> float:
    apart = (a - b).tolist()
    far = abs(sum(apart))
    sums = [abs(sum(s * d for s, d in zip(signs, apart, strict=True))) for signs in product((1, -1), repeat=len(apart))]
    return sum(total >= far for total in sums) / len(sums)


@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_with_several_seeds_it_counts_all_sign_patterns(seeds):
    for n in (1, 4, 9):
        for _ in range(4):
            a, b = RANDOM.integers(0, seeds + 1, (2, n))
            assert sign_flip(a, b).p_value == pytest.approx(_by_all_signs(a, b), rel=1e-12)


def test_a_seed_that_repeats_another_adds_no_evidence():
    a, b = _pair(8, 2)
    assert sign_flip(3 * a.astype(int), 3 * b.astype(int)).p_value == pytest.approx(sign_flip(a, b).p_value)


def test_images_on_which_both_do_as_well_do_not_count():
    assert sign_flip(*_pair(8, 2, both=0)) == sign_flip(*_pair(8, 2, both=500))


def test_many_images_are_exact_and_finite():
    assert 0 < sign_flip(*_pair(3000, 2000)).p_value < 1e-40
    assert 0 < sign_flip(*RANDOM.binomial(5, [[0.6], [0.5]], (2, 5000))).p_value < 1e-40


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0] and holm([0.2]) == [0.2] and holm([]) == []


def test_p_values_are_printed_as_in_papers():
    assert [p_text(p) for p in (1e-9, 0.0123, 0.314)] == ["p < 0.001", "p = 0.012", "p = 0.31"]


def test_with_one_seed_the_interval_is_wilsons():
    for right, total in ((0, 9), (5, 9), (9, 9), (259, 270)):
        images = np.arange(total) < right
        assert seeds_interval(images, np.ones(total, int)) == pytest.approx(Score(right, total).interval)
    assert seeds_interval(np.zeros(0, int), np.zeros(0, int)) == (0.0, 1.0)


def test_seeds_that_agree_narrow_nothing_and_seeds_that_differ_do():
    images, three = np.arange(60) < 40, np.full(60, 3)
    assert seeds_interval(3 * images, three) == pytest.approx(Score(40, 60).interval)
    low, high = seeds_interval(RANDOM.binomial(3, 2 / 3, 60), three)
    assert high - low < 0.8 * np.subtract(*Score(40, 60).interval[::-1])
    assert seeds_interval(np.ones(60, int), np.full(60, 2)) == pytest.approx(Score(60, 120).interval)  # never more than trials


def test_the_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for _ in range(400):
        hard = RANDOM.beta(2, 1, 80)  # each image has a difficulty that all seeds share; the mean is 2/3
        low, high = seeds_interval(RANDOM.binomial(3, hard), np.full(80, 3))
        held += low <= 2 / 3 <= high
    assert 0.92 < held / 400 < 0.98
