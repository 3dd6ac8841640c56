"""How time and memory of a deep step grow with images, prompts and prompted layers.

    python benchmarks/growth.py          ViT-S/16, 224 px; results/growth.csv; some five minutes

Times are ratios against 16 images, 50 prompts and all 12 layers, variants taking turns in one process (one thread,
process CPU time, medians); `held` is what the forward keeps for the backward. Weights are random.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.side_by_side import machine, ratio, seconds_of  # noqa: E402
from benchmarks.variants import CLASSES, MODELS, deep, step  # noqa: E402
from vpt_core.backbones import load_backbone  # noqa: E402
from vpt_core.embed import Feed  # noqa: E402
from vpt_core.memory import held  # noqa: E402

FILE = ROOT / "benchmarks" / "results" / "growth.csv"
FIELDS = ("images", "prompts", "layers", "median", "low", "high", "held_mb", "machine")
NAME, SIZE = "ViT-S/16", 224
BASE = (16, 50, "all")
CASES = (
    *((images, 50, "all") for images in (1, 4, 8, 32)),
    *((16, prompts, "all") for prompts in (1, 10, 100, 200)),
    *((16, 50, layers) for layers in ("last 1", "last 4", "last 8")),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone(MODELS[NAME])
    pixels = np.random.default_rng(0).integers(0, 255, (32, SIZE, SIZE, 3), dtype=np.uint8)
    variants, kept = {}, {}
    for images, prompts, layers in (BASE, *CASES):
        model = deep(backbone, SIZE, prompts, layers)
        kept[images, prompts, layers] = held(model, Feed(pixels, torch.arange(32) % CLASSES, 0), images) / 1e6
        variants[str((images, prompts, layers))] = step(model, torch.rand(images, 3, SIZE, SIZE))
    seconds = seconds_of(variants, args.rounds)
    lines = [list(FIELDS)]
    print("| images | prompts | layers | time | held, MB |\n|---|---|---|---|---|")
    for case in (BASE, *CASES):
        found = ratio(seconds, str(case), str(BASE))
        print("| " + " | ".join(map(str, case)) + f" | {found} | {kept[case]:.0f} |")
        figures = [f"{value:.4f}" for value in (found.median, found.low, found.high)]
        lines.append([*map(str, case), *figures, f"{kept[case]:.1f}", machine()])
    with FILE.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


if __name__ == "__main__":
    main()
