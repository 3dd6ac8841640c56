"""What attribution says of a test image before and after tuning, computed once."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from app import pictures
from app.downloads import new_folder
from app.models import classifier
from app.results import Result
from app.verdict import labels, percent, predicted
from vpt_core.analysis import (
    ATTRIBUTIONS,
    BASELINES,
    Attribution,
    Deletion,
    PromptAttribution,
    attribute,
    attribute_prompts,
    before_tuning,
    delete_and_insert,
)
from vpt_core.errors import UserError
from vpt_core.methods import METHODS, Prompted
from vpt_core.runs import Run
from vpt_core.traps import is_trap, stamp

TRUE, PREDICTED = "true", "predicted"
_MOST = 128  # of each kind that stay in memory
_lock = threading.Lock()
_found: dict[tuple[object, ...], None] = {}


@dataclass(frozen=True)
class Wish:
    """What is asked: a test image of a run, the class (`TRUE`, `PREDICTED` or its number), and how to explain it."""

    result: Result
    run: Run
    image: int
    target: str
    method: str
    baseline: str

    @property
    def number(self) -> int:
        """The class as a number. Raises `UserError` when the run has no such class."""
        if self.target == TRUE:
            return int(self.run.labels[self.image])
        if self.target == PREDICTED:
            return int(predicted(self.run)[self.image])
        if not self.target.isdecimal() or int(self.target) >= len(self.run.classes):
            raise UserError("This result has no such class. Choose one of the list.")
        return int(self.target)

    @property
    def pixels(self) -> np.ndarray:
        """The image (S, S, 3) uint8 as the run saw it. Raises `UserError` when the data set is gone."""
        return pictures.pixels(self.result, self.image, self.run.spec.image_size)

    @property
    def probe(self) -> Run | None:
        """The linear probe of the result, where it is another run."""
        mine = (run for run in self.result.runs if run.spec.method == "linear" and run.name != self.run.name)
        return next(mine, None)


def before_words(wish: Wish) -> str:
    """What "before" is for this run: there is no such thing as the answer of an untuned head."""
    if wish.probe:
        names = dict(zip((run.name for run in wish.result.runs), labels(wish.result), strict=True))
        return f"Before is the frozen backbone with its own classifier, {names[wish.probe.name]} of this result."
    if wish.run.spec.method == "linear":
        return "A linear probe leaves the backbone as it is, so before and after are the same: both sides show it."
    return ("Before is the frozen backbone under this run's classifier, which was learned together with what was tuned: its "
            "answers may be off for that reason alone. With a linear probe in the result, that would stand here.")


def before(wish: Wish) -> Attribution:
    """The attribution of the frozen backbone. Raises `UserError` when data set, file or backbone are not there."""
    run = wish.probe or wish.run
    return _attributed(wish, run, frozen=run.spec.method != "linear")


def after(wish: Wish) -> Attribution:
    """The attribution of the tuned model. Raises `UserError` as `before` does."""
    return _attributed(wish, wish.run, frozen=False)


def _attributed(wish: Wish, run: Run, frozen: bool) -> Attribution:
    with _lock:  # of two visitors with the same wish the second one finds it done
        return _attribution(run.folder, wish.image, wish.number, wish.method, wish.baseline, frozen)


@lru_cache(maxsize=_MOST)
def _attribution(folder: Path, image: int, target: int, method: str, baseline: str, frozen: bool) -> Attribution:
    run = Run(folder)
    model, pixels = classifier(run).model, pictures.pixels(Result("", (run,)), image, run.spec.image_size)
    model = before_tuning(model) if frozen else model
    return attribute(model, pixels, target, method, baseline)


@lru_cache(maxsize=_MOST)
def _tested(folder: Path, image: int, target: int, method: str, baseline: str) -> Deletion:
    run, found = Run(folder), _attribution(folder, image, target, method, baseline, False)
    pixels = pictures.pixels(Result("", (run,)), image, run.spec.image_size)
    return delete_and_insert(classifier(run).model, pixels, target, found.patches, baseline)


def tested(wish: Wish) -> Deletion:
    """How the map of the tuned model fares against random orders."""
    with _lock:
        return _tested(wish.run.folder, wish.image, wish.number, wish.method, wish.baseline)


@lru_cache(maxsize=_MOST)
def _prompts(folder: Path, image: int, target: int) -> PromptAttribution:
    run = Run(folder)
    pixels = pictures.pixels(Result("", (run,)), image, run.spec.image_size)
    return attribute_prompts(classifier(run).model, pixels, target)


def prompts(wish: Wish) -> PromptAttribution | None:
    """What the prompts add; None for a run without prompts."""
    if not issubclass(METHODS[wish.run.spec.method], Prompted) or wish.run.spec.options.get("prompts") == 0:
        return None
    with _lock:
        return _prompts(wish.run.folder, wish.image, wish.number)


def _key(wish: Wish) -> tuple[object, ...]:
    return wish.run.folder, wish.image, wish.number, wish.method, wish.baseline


def note(wish: Wish) -> None:
    """All of a wish was found."""
    _found[_key(wish)] = None
    for old in list(_found)[: -_MOST]:
        _found.pop(old, None)


def is_known(wish: Wish) -> bool:
    """True when all of a wish was found before, so that it is answered at once. Raises `UserError` for an unknown class."""
    return _key(wish) in _found


def line(wish: Wish) -> str:
    """What both maps are of."""
    asked = {TRUE: "the true class", PREDICTED: "the predicted class"}.get(wish.target, "a class of your choice")
    row = ATTRIBUTIONS[wish.method]
    against = f", against {BASELINES[wish.baseline].title}" if row.uses_baseline else ""
    name = wish.run.classes[wish.number]
    return f"{row.title} of image {wish.image + 1} for “{name}”, {asked}{against}. {before_words(wish)}"


def sums(wish: Wish) -> str:
    """How the maps add up, and on a trap how much of them lies on the stamp."""
    sides = {"Before tuning": before(wish), "After tuning": after(wish)}
    said = [f"{name} {_sum(found)}" for name, found in sides.items()]
    if is_trap(wish.run):
        where = stamp(wish.run, wish.image, wish.run.spec.image_size)
        old, new = (percent(float(np.abs(found.map)[where].sum() / np.abs(found.map).sum())) for found in sides.values())
        said.append(f"Of the map's mass {old} before and {new} after tuning lie on the stamp in the corner, which is "
                    f"{percent(float(where.mean()))} of the picture.")
    return " ".join(said)


def _sum(found: Attribution) -> str:
    ends = f"the score is {found.score:.2f} for the image and {found.empty:.2f} for the baseline"
    if found.error is None:
        return f"{ends}."
    change = found.score - found.empty
    share = f"{percent(found.error / abs(change))}, " if change else ""
    return (f"{ends}, so the parts should sum to {change:.2f}; they miss that by {found.error:.2g} "
            f"({share}completeness error in {found.steps} steps).")


@lru_cache(maxsize=1)
def _folder() -> Path:
    return new_folder()


def file(wish: Wish) -> Path:
    """Both maps and the curves as JSON."""
    curves, sides = tested(wish), {"before": before(wish), "after": after(wish)}
    name = f"{wish.run.name}-image{wish.image + 1}-class{wish.number}-{wish.method}-{wish.baseline}.json"
    data = {
        "run": wish.run.name, "image": wish.run.image_names[wish.image], "class": wish.run.classes[wish.number],
        "method": wish.method, "baseline": wish.baseline, "before_is": before_words(wish),
        **{name: {"score": found.score, "baseline_score": found.empty, "completeness_error": found.error,
                  "patches": _rounded(found.patches), "map": _rounded(found.map)} for name, found in sides.items()},
        "deletion_insertion_after": {key: _rounded(value) for key, value in vars(curves).items()},
    }  # fmt: skip
    path = _folder() / name
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


def _rounded(values: np.ndarray) -> list[object]:
    """As nested lists, to four digits after the first of the largest one."""
    most = float(np.abs(values).max()) or 1.0
    return np.round(values.astype(np.float64), max(0, 4 - int(np.floor(np.log10(most))))).tolist()
