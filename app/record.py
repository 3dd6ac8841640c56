"""Record the runs of the Start tab: `python -m app.record`. Tunes them anew and replaces those in assets/demo."""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

import numpy as np

from app import journeys, knockouts
from app.inside import attention_view, draw_maps
from app.results import RECORDED, Result
from vpt_core import Spec, tune
from vpt_core.analysis import SCOPES
from vpt_core.embed import drain
from vpt_core.runs import Run, write_json

TASK, SHOTS = "sprites-position", 16
METHODS = {"linear": {"epochs": 100}, "vpt-shallow": {}, "vpt-deep": {}}
LOOKS = 4
KNOCKED = 200  # test images that prompts are taken away for


def record() -> None:
    """Tune, map, follow through the epochs, knock prompts out and look; about half an hour on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        for method, values in METHODS.items():
            run = tune(Spec(task=TASK, shots=SHOTS, method=method, **values), folder)
            draw_maps(run)
            if method == "vpt-deep":
                drain(journeys.walk(run, lambda: False))
            if method != "linear":
                for scope in SCOPES:
                    knockouts.keep(run, scope, drain(knockouts.knocked_out(run, scope, KNOCKED, 0, lambda: False)))
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
