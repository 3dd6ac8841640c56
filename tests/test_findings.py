"""What a knock-out says about attention: planted cases of every kind."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from vpt_core.analysis.findings import attention_and_effect
from vpt_core.analysis.knockout import Knockout, Removal

LAYERS, PROMPTS, IMAGES = 6, 8, 10


def planted(effect: np.ndarray, attention: np.ndarray) -> Knockout:
    """Two classes; the removal v moves the logit of the true class of each image by -effect[v]."""
    count = len(effect)
    removals = tuple(Removal(1 + v // PROMPTS, 1 + v % PROMPTS, {1 + v // PROMPTS: (v % PROMPTS,)}) for v in range(count))
    whole = np.tile(np.array([1.0, 0.0], np.float32), (IMAGES, 1))
    without = np.tile(whole, (count, 1, 1))
    without[:, :, 0] -= effect[:, None]
    labels = np.zeros(IMAGES, np.int64)
    return Knockout(removals, np.arange(IMAGES), labels, whole, without, np.tile(attention[:, None], (1, IMAGES)))


def drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(LAYERS * PROMPTS)


def test_attention_that_predicts():
    attention = drawn(0)
    found = attention_and_effect(planted(2 * attention, attention))
    assert found.rank == pytest.approx(1) and found.within == pytest.approx(1) and found.p < 1e-3 and found.within_p < 1e-3
    assert found.sentence.startswith("Prompts with more attention have more effect here (rank correlation +1.00, p < 0.001; ")
    flips = int((2 * attention > 1).sum())
    assert found.changed == flips
    assert f"{flips} of the 48 knock-outs change the answer for any of the 10 images" in found.sentence


def test_attention_that_predicts_the_opposite():
    attention = drawn(0)
    said = attention_and_effect(planted(0.5 - attention / 4, attention)).sentence
    assert said.startswith("Prompts with more attention have less effect here (rank correlation -1.00")
    assert "none of the 48 knock-outs changes the answer" in said


def test_attention_that_says_nothing():
    found = attention_and_effect(planted(drawn(1), drawn(2)))
    assert found.p > 0.05 and found.sentence.startswith("Attention does not predict effect here (")
    result = spearmanr(found.attention, found.effect)
    assert (found.rank, found.p) == pytest.approx((result.statistic, result.pvalue))


def test_a_matter_of_layers_alone_is_called_so():
    layer = np.repeat(np.arange(LAYERS), PROMPTS)
    found = attention_and_effect(planted(layer / 4 + drawn(1) / 100, layer + drawn(2) / 100))
    assert found.rank > 0.9 and found.within_p > 0.05
    assert "by layer only" in found.sentence


def test_too_few_or_all_equal_is_no_correlation():
    few = attention_and_effect(planted(drawn(0)[:4], drawn(0)[:4]))
    same = attention_and_effect(planted(np.zeros(48), drawn(0)))
    assert np.isnan(few.rank) and np.isnan(same.rank)
    assert "too little differs" in few.sentence and same.sentence.startswith("None of the 48")
