"""Tuned models in memory, a few at a time, all on the one frozen backbone."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from vpt_core.prompt_file import Classifier
from vpt_core.runs import Run


def classifier(run: Run) -> Classifier:
    """The tuned model of a run; the latest ones stay in memory. Raises `UserError` when it cannot be loaded."""
    return _load(run.folder)


@lru_cache(maxsize=16)
def _load(folder: Path) -> Classifier:
    return Run(folder).classifier()
