"""What rounding to bfloat16 in training costs in accuracy: VPT-deep tuned twice under each seed, the table of the README.

    python benchmarks/precision.py            three tasks, 3 seeds; appends to benchmarks/results/precision.csv
    python benchmarks/precision.py --table

Both runs of a seed have the same images, first weights and order; only the matrix products of training differ. Slow where
the processor has no fast instructions for bfloat16: this is about accuracy, time is in steps.py.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in app.py

import numpy as np  # noqa: E402

from vpt_core import Spec, tune  # noqa: E402
from vpt_core.precision import BFLOAT16, FLOAT32  # noqa: E402

FILE = ROOT / "benchmarks" / "results" / "precision.csv"
FIELDS = ("task", "seed", "total", "float32", "bfloat16", "same_answer")
TASKS = ("stamps", "sprites-shape", "sprites-position")


def main() -> None:
    """Run what is not yet recorded, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="only print the table")
    args = parser.parse_args()
    for seed in range(0 if args.table else args.seeds):
        for task in TASKS:
            if (task, str(seed)) not in {(row["task"], row["seed"]) for row in recorded()}:
                record(task, seed)
    print(table(recorded()))


def record(task: str, seed: int) -> None:
    """Tune in both precisions, and append a line to the file."""
    right, answers = {}, []
    for precision in (FLOAT32, BFLOAT16):
        with tempfile.TemporaryDirectory() as folder:
            run = tune(Spec(task=task, method="vpt-deep", seed=seed, shots=8, precision=precision), folder)
            right[precision], total = run.test.correct, run.test.total
            answers.append(run.array("logits").argmax(axis=1))
    same = int(np.equal(*answers).sum())
    fresh = not FILE.exists()
    with FILE.open("a", newline="") as file:
        rows = [FIELDS] * fresh + [(task, seed, total, right[FLOAT32], right[BFLOAT16], same)]
        csv.writer(file, lineterminator="\n").writerows(rows)
    print(f"{task} seed {seed}: {right} of {total}, {same} the same", flush=True)


def recorded() -> list[dict[str, str]]:
    """The lines of the file."""
    return list(csv.DictReader(FILE.open())) if FILE.exists() else []


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: right answers seed by seed in both precisions, and how many answers are the same."""
    lines = ["| task | right in float32, seed by seed | right in bfloat16 | same answers |", "|---|---|---|---|"]
    for task in dict.fromkeys(row["task"] for row in rows):
        mine = [row for row in rows if row["task"] == task]
        seeds = (", ".join(row[kind] for row in mine) for kind in (FLOAT32, BFLOAT16))
        same = statistics.mean(int(row["same_answer"]) / int(row["total"]) for row in mine)
        lines.append(f"| {task} ({mine[0]['total']} test images) | {' | '.join(seeds)} | {same:.0%} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
