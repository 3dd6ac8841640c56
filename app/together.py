"""One photo, every task on one backbone: the best run of each task, and prompt files that a visitor added."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from app.results import all_results, find
from vpt_core.backbones import card, load_backbone
from vpt_core.errors import UserError
from vpt_core.many import Many
from vpt_core.methods import METHODS, Prompted
from vpt_core.runs import Run

MOST = 24
"""Tasks of runs, and prompt files added, that are asked at once."""
MOST_MB = 16
"""Of an added prompt file, in MB of 10^6 bytes: more than 800 prompts a layer on the bundled backbone."""


@dataclass(frozen=True)
class Asked:
    """Tasks loaded on one backbone, which of them a visitor added, and why other files were left out."""

    many: Many
    added: tuple[str, ...]
    left_out: tuple[str, ...]

    @property
    def count(self) -> str:
        """How many tasks there are and how often the backbone runs for them: "24 tasks, one pass"."""
        tasks, passes = len(self.many.names), len(self.many.passes())
        way = "one pass" if passes == 1 else f"{passes} passes: prompts in a ViT or Swin and heads of one image size share one"
        return f"{tasks} task{'s' * (tasks != 1)}, {way}" if tasks else "no task yet"


def asked(key: str | None, files: Sequence[str]) -> Asked | None:
    """All tasks on the backbone of the result `key`, loaded; the latest sets stay in memory. None without any result.

    Raises `UserError` when the backbone's weights are not there.
    """
    result = find(key)
    if result is None:
        return None
    name = card(result.runs[0].spec.backbone).name
    return _load(name, tuple(run.prompt_file for run in best_runs(name)), tuple(map(Path, files)))


def best_runs(backbone: str) -> list[Run]:
    """Of each task the run with the best test accuracy, among those that can share a pass; the newest `MOST` tasks."""
    best: dict[str, Run] = {}
    for run in (run for result in all_results().values() for run in result.runs):
        if card(run.spec.backbone).name == backbone and _can_share(run):
            task = run.status["task_fingerprint"]
            best[task] = max(best.get(task, run), run, key=lambda one: one.test.accuracy)
    return list(best.values())[:MOST]


def _can_share(run: Run) -> bool:
    """True where the method is prompts, or changes no layer of the backbone."""
    method, depth = METHODS[run.spec.method], card(run.spec.backbone).depth
    return issubclass(method, Prompted) or method.first_layer(method.read_options(run.spec.options), depth) > depth


@lru_cache(maxsize=2)
def _load(backbone: str, runs: tuple[Path, ...], files: tuple[Path, ...]) -> Asked:
    many = Many(load_backbone(backbone))
    left_out = [refusal for file in runs for refusal in _refusals(many, file)]
    own = many.names
    left_out += [refusal for file in files[:MOST] for refusal in _refusals(many, file, strangers=True)]
    if len(files) > MOST:
        left_out.append(f"{len(files)} prompt files were added; the first {MOST} are used.")
    return Asked(many, many.names[len(own) :], tuple(left_out))


def _refusals(many: Many, file: Path, strangers: bool = False) -> Iterator[str]:
    """Add a prompt file to `many`, or give the sentence that refuses it."""
    try:
        if strangers:
            _add_strangers(many, file)
        else:
            many.add(file)
    except UserError as error:
        yield str(error)


def _add_strangers(many: Many, file: Path) -> None:
    """Add a file of which nothing is known. Raises `UserError` also where it would change the model."""
    megabytes = file.stat().st_size / 1e6 if file.is_file() else 0.0
    if megabytes > MOST_MB:
        raise UserError(f"{file.name} has {megabytes:.0f} MB; here {MOST_MB} MB are taken at most.")
    name = many.add(file)
    size, largest = many.classifier(name).about.image_size, max(many.backbone.sizes)
    method = many.model(name).method
    if (many.shares(name) or isinstance(method, Prompted)) and size <= largest:
        return
    many.remove(name)
    if size > largest:
        raise UserError(f"{file.name} was tuned at {size} pixels a side; here {largest} are taken at most.")
    raise UserError(f"{file.name} is {method.title}, which changes the model and needs its own pass. Add prompts or heads.")


def answers(asked: Asked, pixels: np.ndarray) -> dict[str, Any]:
    """The value of `answers_table` for one square uint8 image (S, S, 3)."""
    began = time.perf_counter()
    said = asked.many.answer(pixels)
    seconds = time.perf_counter() - began
    rows = [_row(asked, name, shares) for name, shares in said.items()]
    return {"said": f"{asked.count}, {seconds:.2f} s", "rows": rows, "left_out": list(asked.left_out)}


def _row(asked: Asked, name: str, shares: np.ndarray) -> dict[str, Any]:
    classifier = asked.many.classifier(name)
    how = f"{classifier.model.method.title}, {classifier.about.image_size} px{', your file' * (name in asked.added)}"
    best = int(shares.argmax())
    return {"task": name, "how": how, "best": classifier.classes[best], "share": float(shares[best])}
