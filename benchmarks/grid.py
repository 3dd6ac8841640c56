"""What a training step of every method costs, over models, image sizes and numbers of prompts.

    python benchmarks/grid.py            results/grid.csv, all of it again; some half an hour
    python benchmarks/grid.py --table    the table from that file

A ratio against the concatenated deep step of the same model, size and number of prompts (of 10, for methods without
prompts): variants take turns in one process, one thread, process CPU time, medians. Weights are random.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402

from benchmarks.side_by_side import machine, ratio, seconds_of  # noqa: E402
from benchmarks.variants import CLASSES, CONCATENATED, MODELS, deep, step  # noqa: E402
from vpt_core.backbones import load_backbone  # noqa: E402
from vpt_core.methods import METHODS, Prompted  # noqa: E402
from vpt_core.model import Model  # noqa: E402

FILE = ROOT / "benchmarks" / "results" / "grid.csv"
FIELDS = ("model", "pixels", "batch", "method", "prompts", "median", "low", "high", "machine")
SIZES, PROMPTS, OTHERS, BATCH = (112, 224), (1, 10, 50, 200), 10, 2


def main() -> None:
    """Measure each model at each size, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if not args.table:
        rows = [row for name in MODELS for size in SIZES for row in measure(name, size, args.rounds)]
        with FILE.open("w", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([FIELDS, *rows])
    with FILE.open() as file:
        print(table(list(csv.DictReader(file))))


def measure(name: str, size: int, rounds: int) -> list[list[object]]:
    """The lines of one model at one image size."""
    backbone, x = load_backbone(MODELS[name]), torch.rand(BATCH, 3, size, size)
    variants: dict[tuple[str, int], Callable[[], None]] = {}
    for prompts in PROMPTS:
        variants["concatenated", prompts] = step(deep(backbone, size, prompts, **CONCATENATED), x)
    for method, cls in METHODS.items():
        own = PROMPTS if issubclass(cls, Prompted) else (0,)
        for prompts in own:
            options = {"prompts": prompts} if prompts else {"width": backbone.card.patch} if method == "vpt-frame" else {}
            variants[method, prompts] = step(Model(backbone, method, options, CLASSES, image_size=size), x)
    seconds = seconds_of({f"{method} {prompts}": run for (method, prompts), run in variants.items()}, rounds)
    lines: list[list[object]] = []
    for method, prompts in variants:
        if method != "concatenated":
            found = ratio(seconds, f"{method} {prompts}", f"concatenated {prompts or OTHERS}")
            print(f"{name}, {size} px, {method}, {prompts} prompts: {found}", flush=True)
            figures = [f"{value:.4f}" for value in (found.median, found.low, found.high)]
            lines.append([name, size, BATCH, method, prompts, *figures, machine()])
    return lines


def table(rows: list[dict[str, str]]) -> str:
    """Methods and prompts down, models and sizes across."""
    places = [(name, str(size)) for name in MODELS for size in SIZES]
    found = {(r["method"], r["prompts"], r["model"], r["pixels"]): float(r["median"]) for r in rows}
    lines = ["| step / concatenated | " + " | ".join(f"{name}, {size} px" for name, size in places) + " |",
             "|---|" + "---|" * len(places)]  # fmt: skip
    for method, prompts in dict.fromkeys((r["method"], r["prompts"]) for r in rows):
        title = METHODS[method].title + (f", {prompts} prompts" if prompts != "0" else "")
        title = title.removesuffix("s") if prompts == "1" else title
        cells = [f"{found[method, prompts, name, size]:.2f}" for name, size in places]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
