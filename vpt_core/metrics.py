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
        if not self.total:
            return 0.0, 1.0
        z, n, p = 1.959964, self.total, self.accuracy
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, float(centre - half)), min(1.0, float(centre + half))

    def __str__(self) -> str:
        if not self.total:
            return "no images to test on"
        low, high = self.interval
        return f"{self.correct} of {self.total} ({self.accuracy:.0%}, 95 % interval {low:.0%} to {high:.0%})"


def score(predicted: np.ndarray, labels: np.ndarray) -> Score:
    """Score of predicted classes (N,) against labels (N,)."""
    return Score(int((predicted == labels).sum()), len(labels))


def confusion(predicted: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Counts (classes, classes): row is the true class, column the predicted one."""
    table = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(table, (labels, predicted), 1)
    return table


def per_class(predicted: np.ndarray, labels: np.ndarray, classes: int) -> list[Score]:
    """One `Score` for each true class."""
    table = confusion(predicted, labels, classes)
    return [Score(int(row[i]), int(row.sum())) for i, row in enumerate(table)]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    exp = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exp / exp.sum(axis=-1, keepdims=True)
