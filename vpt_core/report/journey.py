"""The report's section on the way through the epochs, where the run's folder holds one."""

from __future__ import annotations

import json

import numpy as np

from vpt_core.analysis import lay_out
from vpt_core.report.charts import scatter
from vpt_core.report.document import Element, el, note, section
from vpt_core.runs import Run

STATES = 6  # maps at most, evenly over the epochs, the first and the last among them


def journey(run: Run) -> list[Element]:
    """Maps of the same images in the frozen model, after epochs, and in the tuned one; nothing where they were not followed."""
    record = run.folder / "journey.json"
    if not record.exists():
        return []
    kept = json.loads(record.read_text(encoding="utf-8"))
    labels, right = np.array(kept["labels"]), np.array(kept["said"]) == np.array(kept["labels"])
    places = lay_out(run.array("journey"), "pca")  # (E, N, 2)
    names = ["frozen", *(f"after epoch {number}" for number in kept["epochs"]), "tuned"]
    shown = np.unique(np.linspace(0, len(names) - 1, min(STATES, len(names))).round().astype(int))
    drawn = [el("figure", scatter(places[k], places, labels, right, f"{names[k]}: the two main components"),
                el("figcaption", names[k].capitalize())) for k in shown]  # fmt: skip
    return [section("Through the epochs", el("div", *drawn, class_="four"), note(
        f"The same {len(labels)} test and training images in each picture, on one pair of axes: the two main components of all "
        "states. Colours and crosses are those of the tuned model. Look when classes begin to part. How far a point moves here "
        "is no measure of how far its features moved."))]  # fmt: skip
