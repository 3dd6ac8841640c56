"""Record the runs of the Start tab: `python -m app.record`. Tunes them anew and replaces those in assets/demo."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

import numpy as np

from app import journeys
from app.inside import attention_view, draw_maps
from app.results import RECORDED, Result
from vpt_core import Spec, tune
from vpt_core.runs import Run, write_json

TASK, SHOTS = "sprites-position", 16
METHODS = {"linear": {"epochs": 100}, "vpt-shallow": {}, "vpt-deep": {}}
LOOKS = 4


def record() -> None:
    """Tune, map, follow through the epochs and look; about ten minutes on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        for method, values in METHODS.items():
            run = tune(Spec(task=TASK, shots=SHOTS, method=method, **values), folder)
            draw_maps(run)
            if method == "vpt-deep":
                for _ in journeys.walk(run, lambda: False):
                    pass
            shutil.rmtree(RECORDED / method, ignore_errors=True)
            shutil.copytree(run.folder, RECORDED / method)
            print(f"{run.title}: {run.test}")
    write_json(RECORDED / "look.json", looks(Run(RECORDED / "vpt-deep")))


def looks(run: Run) -> list[dict[str, Any]]:
    """Values of the attention viewer for the first test images, of as many classes, that the run gets right."""
    right = run.array("logits").argmax(axis=1) == run.labels
    chosen = [int(np.flatnonzero(right & (run.labels == label))[0]) for label in np.unique(run.labels[right])[:LOOKS]]
    return [attention_view(Result("", (run,)), run, image) for image in chosen]


if __name__ == "__main__":
    record()
