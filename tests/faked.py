"""Run folders as `vpt_core.execute` leaves them, with predictions made up: for tests of what is shown of them."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from app import settings
from app.results import Result, all_results
from vpt_core.metrics import score
from vpt_core.runs import Run, write_array, write_json
from vpt_core.spec import Spec
from vpt_core.train import Epoch


def run(folder: Path, spec: Spec, classes: list[str], labels: np.ndarray, said: np.ndarray, trained: int = 1000,
        names: list[str] | None = None) -> Run:
    """A finished run that called the test images (N,) `said`; its features are noise."""
    folder.mkdir(parents=True)
    logits = np.full((len(labels), len(classes)), -1.0, np.float32)
    logits[np.arange(len(labels)), said] = 2.0
    noise = np.random.default_rng(0).normal(size=(2, len(labels), 4)).astype(np.float32)
    write_json(folder / "spec.json", spec.to_json())
    write_json(folder / "status.json", {
        "state": "done", "reason": "", "process": 1, "classes": classes, "task_title": "Made up", "task_fingerprint": "f" * 64,
        "trained": trained, "backbone_parameters": 1_000_000,
        "seconds": {"embed": 0.5, "train": 1.5, "test": 1.0, "total": 3.0},
        "best_epoch": 2, "test": asdict(score(said, labels)), "file_bytes": 4 * trained,
    })
    write_json(folder / "test.json", {"labels": labels.tolist(), "names": names or [f"{i}.png" for i in range(len(labels))]})
    (folder / "history.jsonl").write_text(json.dumps(asdict(Epoch(1, 1, 0.5, 0.6, 3, 4, 0.01, 1.0, True))) + "\n")
    for name, array in {"logits": logits, "frozen": noise[0], "features": noise[1]}.items():
        write_array(folder / f"{name}.npy", array)
    return Run(folder)


def judged(folder: Path, spec: Spec, good: np.ndarray, trained: int = 1000, names: list[str] | None = None) -> Run:
    """A finished run that got the test images `good`, bool (N,), right. Labels go round three classes."""
    labels = np.arange(len(good)) % 3
    return run(folder, spec, ["a", "b", "c"], labels, np.where(good, labels, (labels + 1) % 3), trained, names)


def result(root: Path, right: dict[str, np.ndarray], classes: tuple[str, ...] = ("a", "b", "c"), task: str = "gone") -> Result:
    """One run a method; `right` says which of the N test images it gets right, bool (N,). Labels go round the classes."""
    runs = []
    for method, good in right.items():
        labels = np.arange(len(good)) % len(classes)
        said = np.where(good, labels, (labels + 1) % len(classes))
        runs.append(run(root / method, Spec(task=task, method=method), list(classes), labels, said, 10 ** (3 + len(runs))))
    return Result("key", tuple(runs))


def on_show(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make a copy of the runs in `root` the page's own; the key of their result."""
    shutil.copytree(root, tmp_path / "runs")
    monkeypatch.setattr(settings, "RUNS", tmp_path / "runs")
    return next(key for key, result in all_results().items() if not result.recorded)
