"""Springing a trap: what is left of a run's accuracy when the pictures are the same but for what gave them away."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from vpt_core.metrics import Score, score
from vpt_core.prompt_file import Classifier
from vpt_core.runs import Run
from vpt_core.tasks import TASKS, load_task, resize
from vpt_core.tasks.trap import Twin


@dataclass(frozen=True)
class Sprung:
    """Scores of one run on the test pictures as they were and on their twins.

    seen      with the stamps as in training
    scores    by the title of each twin
    followed  by the same titles, how many answers were the class that the stamp names; without stamps 0
    """

    seen: Score
    scores: dict[str, Score]
    followed: dict[str, int]
    classes: int

    @property
    def sentence(self) -> str:
        """The figures, and what the run goes by."""
        parts = [f"{self.seen.correct} of {self.seen.total} with the stamps"]
        for title, mine in self.scores.items():
            stamp = f", where {self.followed[title]} answers name the stamp's class" if self.followed[title] else ""
            parts.append(f"{mine.correct} of {mine.total} {title}{stamp}")
        return f"Right: {'; '.join(parts)}. By chance it would be {self.seen.total / self.classes:.0f}. {self._moral}"

    @property
    def _moral(self) -> str:
        worst = min(self.scores, key=lambda title: self.scores[title].correct)
        if self.followed[worst] > self.scores[worst].correct:
            return "This model goes by the stamp more than by the shape: its accuracy was right for the wrong reason."
        if self.scores[worst].interval[1] < self.seen.interval[0]:
            return "This model goes by the shape and by the stamp: its accuracy promises more than it keeps."
        return "This model goes by the shape; the stamp did not trap it."


def is_trap(run: Run) -> bool:
    """Whether the run's task has twins that test what the run goes by."""
    return run.spec.task in TASKS and TASKS[run.spec.task].twins is not None


def spring(run: Run, classifier: Classifier) -> Sprung | None:
    """Test a run on the twins of its test pictures; None where its task is no trap. Takes as long as testing it did."""
    if not is_trap(run):
        return None
    task = load_task(run.spec.task)
    test = task.splits(run.spec.seed, run.spec.shots).test
    scores, followed = {}, {}
    for twin in _twins(run.spec.task):
        said = classifier.logits(twin.pixels[test]).argmax(axis=1)
        scores[twin.title] = score(said, task.labels[test])
        followed[twin.title] = int((said == twin.named[test]).sum())
    return Sprung(run.test, scores, followed, len(task.classes))


def stamp(run: Run, image: int, size: int) -> np.ndarray:
    """Where the stamp of a test image lies, (size, size) bool; nowhere where the run's task is no trap."""
    if not is_trap(run):
        return np.zeros((size, size), bool)
    task = load_task(run.spec.task)
    index = task.splits(run.spec.seed, run.spec.shots).test[image]
    differs = (task.pixels[index] != _twins(run.spec.task)[0].pixels[index]).any(axis=-1, keepdims=True)
    return resize(np.repeat(255 * differs.astype(np.uint8), 3, axis=2)[None], size)[0, ..., 0] > 127


@lru_cache(maxsize=2)
def _twins(name: str) -> tuple[Twin, ...]:
    return tuple(TASKS[name].twins(load_task(name).labels))
