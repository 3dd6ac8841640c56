"""What a knock-out says about attention: does it predict effect? Numbers first, one sentence from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata, spearmanr

from vpt_core.analysis.knockout import Knockout
from vpt_core.paired import p_text

FEWEST = 6  # knock-outs; of fewer a rank correlation says nothing
SHUFFLES = 2000
SURE = 0.05


@dataclass(frozen=True)
class Finding:
    """Attention (V,) against effect (V,) over V knock-outs on some images.

    effect   mean over the images of |change of the log-probability of the true class|, in nats
    rank, p  Spearman's rank correlation of the two, and its two-sided p-value; NaN where it cannot be had
    within   the same among the prompts of one layer, mean over layers; its p-value by shuffling within layers. Layers
             differ in both, so a correlation over all can be a matter of layers alone
    changed  how many knock-outs change the answer for any image
    """

    attention: np.ndarray
    effect: np.ndarray
    rank: float
    p: float
    within: float
    within_p: float
    changed: int
    images: int

    @property
    def sentence(self) -> str:
        """What the numbers say of this run."""
        count = len(self.effect)
        flips = {0: "none", 1: "one"}.get(self.changed, f"{self.changed:,}")
        changes = (f"{flips} of the {count:,} knock-outs {'changes' if self.changed < 2 else 'change'} the answer for any of "
                   f"the {self.images:,} images")
        if np.isnan(self.rank):
            return f"{changes[0].upper()}{changes[1:]}; too little differs to hold attention against effect."
        return f"{self._relation()}; {changes}."

    def _relation(self) -> str:
        said = f"rank correlation {self.rank:+.2f}, {p_text(self.p)}"
        inside = "" if np.isnan(self.within) else f"within a layer {self.within:+.2f}, {p_text(self.within_p)}"
        listed = f"({said}; {inside})" if inside else f"({said})"
        if self.p >= SURE:
            return f"Attention does not predict effect here {listed}"
        more = "more" if self.rank > 0 else "less"
        if inside and self.within_p >= SURE:
            return f"Where prompts get more attention they have {more} effect here, but by layer only {listed}"
        return f"Prompts with more attention have {more} effect here {listed}"


def attention_and_effect(found: Knockout) -> Finding:
    """Hold the attention that removed prompts received against what their removal did."""
    attention = found.attention.astype(np.float64).mean(axis=1)
    effect = np.abs(found.log_probability).mean(axis=1)
    rank = p = within = within_p = float("nan")
    if len(effect) >= FEWEST and np.ptp(attention) and np.ptp(effect):
        result = spearmanr(attention, effect)
        rank, p = float(result.statistic), float(result.pvalue)
        groups = np.array([one.layer for one in found.removals])
        within, within_p = _within(attention, effect, groups)
    return Finding(attention, effect, rank, p, within, within_p, int((found.changed > 0).sum()), len(found.images))


def _within(attention: np.ndarray, effect: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Rank correlation inside groups, mean over them, and its p-value; NaN with one group or one member each."""
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2 or counts.min() < 3:
        return float("nan"), float("nan")
    ranks = [(_ranks(attention[groups == name]), _ranks(effect[groups == name])) for name in names]
    draw = np.random.default_rng(0)
    seen = float(np.mean([a @ b for a, b in ranks]))
    chance = np.mean([draw.permuted(np.tile(a, (SHUFFLES, 1)), axis=1) @ b for a, b in ranks], axis=0)
    return seen, float((1 + (np.abs(chance) >= abs(seen) - 1e-12).sum()) / (1 + SHUFFLES))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks with mean 0 and length 1, so that a product of two is their correlation; zeros where all are equal."""
    ranks = rankdata(values)
    ranks -= ranks.mean()
    return ranks / max(float(np.linalg.norm(ranks)), 1e-12)
