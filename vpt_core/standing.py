"""What one method reaches and costs on one task, over one or several seeds, read from finished runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np

from vpt_core.methods import METHODS
from vpt_core.metrics import Score, seeds_interval
from vpt_core.options import options_of
from vpt_core.runs import Run
from vpt_core.spec import Spec

_RECIPE = ("epochs", "batch_size", "lr", "weight_decay", "warmup")  # what may tell two specs of a method and its options apart


@dataclass(frozen=True)
class Standing:
    """Runs that differ in nothing but the seed, ascending by it. Never empty. `label` names the method and its options."""

    label: str
    runs: tuple[Run, ...]

    @property
    def method(self) -> str:
        return self.runs[0].spec.method

    @property
    def seeds(self) -> list[int]:
        return [run.spec.seed for run in self.runs]

    @cached_property
    def scores(self) -> list[Score]:
        """The score of each seed."""
        return [run.test for run in self.runs]

    @property
    def score(self) -> Score:
        """Right answers of all seeds: its accuracy is the mean over seeds, its own interval would count images twice."""
        return Score(sum(s.correct for s in self.scores), sum(s.total for s in self.scores))

    @cached_property
    def images(self) -> dict[str, tuple[int, int]]:
        """Name of each image that a seed tested: how many seeds got it right, of how many that tested it."""
        found: dict[str, tuple[int, int]] = {}
        for run in self.runs:
            for name, good in zip(run.image_names, right(run).tolist(), strict=True):
                before = found.get(name, (0, 0))
                found[name] = before[0] + good, before[1] + 1
        return found

    @cached_property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy; see `seeds_interval`."""
        counts = np.array(list(self.images.values()), dtype=np.int64).reshape(-1, 2)
        return seeds_interval(counts[:, 0], counts[:, 1])

    @cached_property
    def trained(self) -> int:
        """How many numbers are learned, head included."""
        return self.runs[0].status["trained"]

    @property
    def file_bytes(self) -> int:
        return self.runs[0].status["file_bytes"]

    @property
    def seconds(self) -> float:
        """Median over the seeds of the seconds of tuning: computing the frozen layers and training."""
        return median(tuning_seconds(run) for run in self.runs)

    @property
    def words(self) -> str:
        """The accuracy in words: "259 of 270", or "95.9 %" of several seeds."""
        total = self.score
        return f"{total.correct} of {total.total}" if len(self.runs) == 1 else f"{100 * total.accuracy:.1f} %"

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        spec = self.runs[0].spec
        return {
            "label": self.label, "method": spec.method, "options": spec.options, "seeds": self.seeds,
            "scores": [asdict(s) for s in self.scores],
            "accuracy": self.score.accuracy if self.score.total else None, "interval": self.interval,
            "trained": self.trained, "file_bytes": self.file_bytes, "seconds": self.seconds,
            "runs": [str(run.folder) for run in self.runs],
        }  # fmt: skip


def right(run: Run) -> np.ndarray:
    """Which test images are classified rightly, bool (N,)."""
    return run.array("logits").argmax(axis=1) == run.labels


def tuning_seconds(run: Run) -> float:
    """Seconds of tuning: computing the frozen layers of the images and training."""
    spent = run.status["seconds"]
    return spent["embed"] + spent["train"]


def but_seed(spec: Spec) -> str:
    """A text that is equal for specs that ask the same of different seeds, whether or not they name default options."""
    options = asdict(METHODS[spec.method].read_options(spec.options))
    return json.dumps(replace(spec, options=options, seed=0).to_json(), sort_keys=True)


def labels(specs: Sequence[Spec]) -> list[str]:
    """A name for each spec, the same for those that differ in the seed alone: the method, the options that are not its
    defaults, and where these are equal what else is not, as in "VPT-deep (Prompt tokens 5), Epochs 3".
    """
    names = [_label(spec) for spec in specs]
    for name in set(names):
        same = [i for i, n in enumerate(names) if n == name]
        differ = [f for f in _RECIPE if len({getattr(specs[i], f) for i in same}) > 1]
        for i in same:
            said = [f"{options_of(Spec)[f][0].label} {getattr(specs[i], f):g}" for f in differ]
            names[i] = ", ".join([name, *said])
    return names


def _label(spec: Spec) -> str:
    method = METHODS[spec.method]
    chosen, usual = method.read_options(spec.options), method.Options()
    said = [f"{opt.label} {getattr(chosen, name)}" for name, (opt, _) in options_of(chosen).items()
            if getattr(chosen, name) != getattr(usual, name)]  # fmt: skip
    return method.title + (f" ({', '.join(said)})" if said else "")
