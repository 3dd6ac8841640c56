"""The trap: pictures that differ in the stamp alone, and what is said of a model by its answers on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from faked import run as faked_run

from vpt_core.runs import Run
from vpt_core.spec import Spec
from vpt_core.tasks import TASKS, load_task
from vpt_core.tasks.trap import CLASSES, MARK
from vpt_core.traps import is_trap, spring, stamp

TASK = load_task("trap")
TEST = TASK.splits(0, 4).test
LABELS = TASK.labels[TEST]
TWINS = TASKS["trap"].twins(TASK.labels)


class Answers:
    """Stands in for a classifier: names the class of the stamp, or the true one for a share of the pictures."""

    def __init__(self, by_shape: float) -> None:
        self.by_shape = by_shape

    def logits(self, pixels: np.ndarray) -> np.ndarray:
        colours = {tuple(TASK.pixels[TASK.labels == k][0][MARK, MARK][0, 0]): k for k in range(len(CLASSES))}
        seen = [colours.get(tuple(image[MARK, MARK][0, 0]), 0) for image in pixels]
        truly = np.arange(len(pixels)) < self.by_shape * len(pixels)
        return np.eye(len(CLASSES))[np.where(truly, LABELS, seen)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return faked_run(tmp_path / "run", Spec(task="trap", method="linear", shots=4), list(CLASSES), LABELS, LABELS)


def test_twins_differ_from_the_task_in_the_stamp_alone():
    without, swapped = TWINS
    inside = np.zeros(TASK.pixels.shape[1:3], bool)
    inside[MARK, MARK] = True
    for twin in TWINS:
        assert (twin.pixels[:, ~inside] == TASK.pixels[:, ~inside]).all()
    assert (swapped.pixels[:, inside] != TASK.pixels[:, inside]).any(axis=(1, 2)).all()
    assert (without.named == -1).all() and (swapped.named != TASK.labels).all()
    corner = swapped.pixels[:, MARK, MARK]
    for k in range(len(CLASSES)):  # a stamp is one colour, and the swapped one is that of the class it names
        colour = TASK.pixels[TASK.labels == k][0][MARK, MARK][0, 0]
        assert (corner[swapped.named == k] == colour).all()


def test_no_shape_lies_under_the_stamp():
    """Else the stamp would hide what is asked, and accuracy would fall for a reason that is none."""
    blank = TWINS[0].pixels[:, MARK, MARK].astype(int)
    spread = blank.max(axis=(1, 2)) - blank.min(axis=(1, 2))
    assert (spread < 90).all()


@pytest.mark.parametrize(("by_shape", "right", "followed", "moral"), [
    (0.0, 0, 180, "right for the wrong reason"), (1.0, 180, 0, "did not trap it"),
    (0.7, 126, 54, "by the shape and by the stamp"),
])  # fmt: skip
def test_answers_on_swapped_stamps_tell_what_a_model_goes_by(run, by_shape, right, followed, moral):
    found = spring(run, Answers(by_shape))
    swapped = "with swapped stamps"
    assert found.scores[swapped].correct == right and found.followed[swapped] == followed
    assert found.followed["without stamps"] == 0 and found.seen.correct == 180
    assert moral in found.sentence and f"{right} of 180 with swapped stamps" in found.sentence
    assert "By chance it would be 30" in found.sentence


def test_the_stamp_is_found_at_any_size(run):
    for size in (112, 56, 224):
        where = stamp(run, 5, size)
        assert where.shape == (size, size) and where.mean() == pytest.approx((18 / 112) ** 2, rel=0.05)
        assert where[-size // 10, -size // 10] and not where[: size // 2].any()


def test_other_tasks_are_no_traps(tmp_path):
    labels = np.zeros(2, int)
    other = faked_run(tmp_path / "other", Spec(task="sprites-count", method="linear"), ["a", "b"], labels, labels)
    assert not is_trap(other) and spring(other, Answers(1.0)) is None and not stamp(other, 0, 8).any()
