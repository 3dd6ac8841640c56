"""Results: finished runs that answer the same question, side by side. Everything is read from run folders."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app import settings
from vpt_core.backbones import card
from vpt_core.methods import METHODS
from vpt_core.paths import ASSETS
from vpt_core.runs import Run, list_runs
from vpt_core.tasks import Task, load_task

RECORDED = ASSETS / "demo"
"""Runs that come with the program, so that there is something to look at before anything was tuned."""


@dataclass(frozen=True)
class Result:
    """Runs of several methods on the same images: same task, backbone, image size, shots and seed. Never empty.

    `key` names it between page and server; it is looked up, never used as a path.
    """

    key: str
    runs: tuple[Run, ...]

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
            f"seed {spec.seed}",
        ]
        return ("Recorded: " if self.recorded else "") + " · ".join(parts)

    @property
    def task(self) -> Task:
        """The images. Raises `UserError` when the data set is not here any more."""
        return cached_task(self.runs[0].spec.task)

    @property
    def test_index(self) -> np.ndarray:
        """Which images of `task` were tested on, in the order of the runs' logits."""
        spec = self.runs[0].spec
        return self.task.splits(spec.seed, spec.shots).test


@lru_cache(maxsize=8)
def cached_task(source: str) -> Task:
    """The task of a run or a page; the latest few stay in memory."""
    return load_task(source)


def run_label(run: Run) -> str:
    """A method with the options that differ from its defaults: "VPT-deep (Prompt tokens 5)"."""
    method = METHODS[run.spec.method]
    chosen, usual = method.read_options(run.spec.options), method.Options()
    fields = chosen.__dataclass_fields__
    said = [
        f"{f.metadata['option'].label} {getattr(chosen, n)}"
        for n, f in fields.items()
        if getattr(chosen, n) != getattr(usual, n)
    ]
    return method.title + (f" ({', '.join(said)})" if said else "")


def all_results() -> dict[str, Result]:
    """Every result there is, newest first, the recorded ones last. Of runs with equal specs only the newest counts."""
    groups: dict[str, dict[str, Run]] = {}
    for run in [*list_runs(settings.RUNS), *list_runs(RECORDED)]:
        if run.finished:
            spec = run.spec
            same = [str(run.folder.parent == RECORDED), spec.task, spec.backbone, spec.image_size, spec.shots, spec.seed]
            key = json.dumps([*same, run.status["task_fingerprint"][:12]])
            groups.setdefault(key, {}).setdefault(json.dumps(spec.to_json(), sort_keys=True), run)
    order = list(METHODS)
    return {
        key: Result(key, tuple(sorted(runs.values(), key=lambda r: (order.index(r.spec.method), r.name))))
        for key, runs in groups.items()
    }


def find(key: str | None) -> Result | None:
    """The result with this key, else the newest one; None when there is none at all."""
    results = all_results()
    return results.get(key or "") or next(iter(results.values()), None)


def choices(key: str | None) -> dict[str, Any]:
    """Choices and value of a dropdown of results; the value stays `key` while that result exists."""
    there = all_results()
    return {
        "choices": [(result.title, k) for k, result in there.items()],
        "value": key if key in there else next(iter(there), None),
    }


def data_folder() -> Path:
    """Where imported data sets are kept."""
    return settings.RUNS / "data"
