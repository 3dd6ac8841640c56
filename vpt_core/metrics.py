"""What a set of predictions is worth, with its uncertainty. NumPy only; no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Score:
    """k right of n, with the 95 % Wilson score interval (Wilson 1927) of the accuracy."""

    correct: int
    total: int

    @property
    def accuracy(self) -> float:
        return self.correct / self.total if self.total else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """Lower and upper bound; (0, 1) when nothing was tested. It stays inside [0, 1] also for k = 0 and k = n."""
        return _wilson(self.accuracy, self.total) if self.total else (0.0, 1.0)

    def __str__(self) -> str:
        if not self.total:
            return "no images to test on"
        low, high = self.interval
        return f"{self.correct} of {self.total} ({self.accuracy:.0%}, 95 % interval {low:.0%} to {high:.0%})"


def _wilson(p: float, n: float) -> tuple[float, float]:
    """The 95 % Wilson interval of a share p of n."""
    z = 1.959964
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def seeds_interval(right: np.ndarray, tested: np.ndarray) -> tuple[float, float]:
    """95 % interval of the accuracy over several seeds: how many seeds got each image right, of how many that tested it, (N,).

    An image under several seeds is no second image, so images are the clusters: Wilson's interval with the number of
    independent trials that has the variance seen among images (the effective sample size of survey statistics). With one
    seed it is `Score.interval`. Like that it speaks of other test images and of the mean over these seeds. Student's t
    over seeds would speak of other seeds, but of 2 or 3 seeds it says next to nothing and it leaves out the test images.
    """
    if not len(right):
        return 0.0, 1.0
    total = int(tested.sum())
    p = float(right.sum()) / total
    variance = float(((right - p * tested) ** 2).sum()) / total**2
    if p in (0.0, 1.0):  # no variance is seen: as many trials as images
        return _wilson(p, len(right))
    return _wilson(p, min(total, p * (1 - p) / variance) if variance else total)


def score(predicted: np.ndarray, labels: np.ndarray) -> Score:
    """Score of predicted classes (N,) against labels (N,)."""
    return Score(int((predicted == labels).sum()), len(labels))


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes): row is the true class, column the predicted one."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)
