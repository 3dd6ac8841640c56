"""Results: finished runs that answer the same question, side by side. Everything is read from run folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app import visitors
from vpt_core.backbones import card
from vpt_core.comparison import Comparison, compare, shared
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.paths import ASSETS
from vpt_core.runs import Run, list_runs
from vpt_core.spec import Spec
from vpt_core.standing import but_seed
from vpt_core.tasks import Task, load_task

RECORDED = ASSETS / "demo"
"""Runs that come with the program, so that there is something to look at before anything was tuned."""


@dataclass(frozen=True)
class Result:
    """Runs of several methods on the same task, backbone, image size and shots, under one seed or several. Never empty.

    `key` names it between page and server; it is looked up, never used as a path. `says_seed`: names of runs have the seed.
    """

    key: str
    runs: tuple[Run, ...]
    says_seed: bool = False

    @cached_property
    def comparison(self) -> Comparison:
        """The methods over the seeds that most of them have."""
        return compare(self.runs)

    @property
    def seeds(self) -> list[int]:
        return sorted({run.spec.seed for run in self.runs})

    @property
    def one_seed(self) -> Result:
        """The runs of the first seed that is compared, for what looks at single images: seeds may test other ones."""
        if len(self.seeds) == 1:
            return self
        having: dict[str, set[int]] = {}
        for run in self.runs:
            having.setdefault(but_seed(run.spec), set()).add(run.spec.seed)
        seed = shared(having)[1][0]
        return Result(self.key, tuple(run for run in self.runs if run.spec.seed == seed), says_seed=True)

    @property
    def recorded(self) -> bool:
        return self.runs[0].folder.parent == RECORDED

    @property
    def title(self) -> str:
        spec, status = self.runs[0].spec, self.runs[0].status
        shots = f"{spec.shots} a class" if spec.shots else "all images"
        parts = [
            status["task_title"],
            card(spec.backbone).title.split(",")[0],
            f"{spec.image_size} px",
            shots,
            _seeds_in_words(self.seeds),
        ]
        kind = "Recorded: " if self.recorded else "Loaded: " if status.get("loaded") else ""
        return kind + " · ".join(parts)

    @property
    def task(self) -> Task:
        """The images. Raises `UserError` when the data set is not here."""
        return images_of(self.runs[0].spec)

    @property
    def test_index(self) -> np.ndarray:
        """Which images of `task` were tested on, in the order of the runs' logits."""
        spec = self.runs[0].spec
        return self.task.splits(spec.seed, spec.shots).test


@lru_cache(maxsize=8)
def cached_task(source: str) -> Task:
    """The task of a run or a page; the latest few stay in memory."""
    return load_task(source)


def images_of(spec: Spec) -> Task:
    """The data set of a run. Raises `UserError` when it is not here."""
    try:
        return cached_task(spec.task)
    except UserError as error:  # its text may name a folder of the server
        raise UserError("The images of this result are not on this computer; its numbers are.") from error


def _seeds_in_words(seeds: list[int]) -> str:
    """ "seed 0", "seeds 0 to 2", "seeds 0, 4"."""
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    whole = seeds[-1] - seeds[0] == len(seeds) - 1
    return f"seeds {seeds[0]} to {seeds[-1]}" if whole else f"seeds {', '.join(map(str, seeds))}"


def all_results() -> dict[str, Result]:
    """Every result that the visitor has, newest first, the recorded ones last: each seed's, and before them that of all seeds
    where there are several. Of runs with equal specs only the newest counts.
    """
    groups: dict[str, dict[str, Run]] = {}
    mine = visitors.folder()
    for run in [*(list_runs(mine) if mine else []), *list_runs(RECORDED)]:
        if run.finished:
            spec = run.spec
            kind = "loaded" if run.status.get("loaded") else str(run.folder.parent == RECORDED)
            same = [kind, Path(spec.task).name, spec.backbone, spec.image_size, spec.shots]
            for seed in (None, spec.seed):
                key = json.dumps([*same, seed, run.status["task_fingerprint"][:12]])
                groups.setdefault(key, {}).setdefault(f"{but_seed(spec)} {spec.seed}", run)
    order = list(METHODS)
    found = {
        key: Result(key, tuple(sorted(runs.values(), key=lambda r: (order.index(r.spec.method), r.name))))
        for key, runs in groups.items()
    }
    return {key: result for key, result in found.items() if len(result.seeds) > 1 or json.loads(key)[-2] is not None}


def find(key: str | None) -> Result | None:
    """The result with this key, else the newest one; None when there is none at all."""
    results = all_results()
    return results.get(key or "") or next(iter(results.values()), None)


def find_seed(key: str | None) -> Result | None:
    """As `find`, and of a result of several seeds the first one, for what looks at single images."""
    result = find(key)
    return result.one_seed if result else None


def choices(key: str | None) -> dict[str, Any]:
    """Choices and value of a dropdown of results; the value stays `key` while that result exists."""
    there = all_results()
    return {
        "choices": [(result.title, k) for k, result in there.items()],
        "value": key if key in there else next(iter(there), None),
    }


def choices_of(mine: list[str], shown: str | None) -> dict[str, Any]:
    """As `choices`; the value is the result of the runs named in `mine`, if there are any, else `shown`."""
    names = {key: {run.name for run in result.runs} for key, result in all_results().items()}
    own = max(names, key=lambda key: (len(names[key].intersection(mine)), -len(names[key])), default=None)
    return choices(own if own and names[own].intersection(mine) else shown)
