"""What it gains that a batch goes through frozen blocks in parts, a thread for each, instead of all threads at each operation.

    python benchmarks/parts.py           results/parts.csv
    python benchmarks/parts.py --table

A training step of VPT-deep on 8 images and a pass without gradients of 16, on the bundled backbone, at 112 px with 10
prompts and at 224 px with 50. By the clock, variants taking turns, with as many threads as torch takes: needs an idle
machine.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in app.py

import torch  # noqa: E402

from benchmarks.side_by_side import Ratio, machine, ratio, seconds_of  # noqa: E402
from benchmarks.variants import deep, inference, step  # noqa: E402
from vpt_core import shares  # noqa: E402
from vpt_core.backbones import load_backbone  # noqa: E402

FILE = ROOT / "benchmarks" / "results" / "parts.csv"
BACKBONE, CASES, ROUNDS = "vit-s14-saliency", ((112, 10), (224, 50)), 11


def main() -> None:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    args = parser.parse_args()
    if not args.table:
        write({case: measure(*case) for case in CASES})
    with FILE.open() as file:
        print(table(list(csv.DictReader(file))))


def measure(size: int, prompts: int, rounds: int = ROUNDS) -> dict[str, Ratio]:
    """In parts against the batch as a whole: the clock's time of a step and of a pass."""
    backbone = load_backbone(BACKBONE)
    runs = {
        "a training step of 8 images": step(deep(backbone, size, prompts), torch.rand(8, 3, size, size)),
        "a pass of 16 images": inference(deep(backbone, size, prompts).eval(), torch.rand(16, 3, size, size)),
    }
    found = {}
    for what, run in runs.items():
        seconds = seconds_of({"parts": run, "whole": whole(run)}, rounds, time.perf_counter)
        found[what] = ratio(seconds, "parts", "whole")
    return found


def whole(run: Callable[[], object]) -> Callable[[], None]:
    """The same as on a torch where batches stay whole."""

    def inside() -> None:
        setters, shares._setters = shares._setters, tuple
        try:
            run()
        finally:
            shares._setters = setters

    return inside


def write(found: dict[tuple[int, int], dict[str, Ratio]]) -> None:
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["pixels", "prompts", "what", "median", "low", "high", "machine"])
        for case, rows in found.items():
            for what, r in rows.items():
                writer.writerow([*case, what, *(f"{value:.4f}" for value in (r.median, r.low, r.high)), machine()])


def table(rows: list[dict[str, str]]) -> str:
    """Markdown."""
    lines = ["| in parts / whole, by the clock | time |", "|---|---|"]
    for r in rows:
        value = Ratio(*(float(r[key]) for key in ("median", "low", "high")))
        lines.append(f"| {r['what']}, {r['pixels']} px, {r['prompts']} prompts | {value} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
