"""Peak memory of training steps, each method in a fresh process: the table of the README.

    python benchmarks/memory.py                     ViT-B/16, 224 px, 50 prompts, batch 16, 3 steps; results/memory.csv
    python benchmarks/memory.py --table

What is counted is the resident set of the process at its highest, less that of the same process after the imports; `held`
is what one more image adds to what the forward keeps for the backward. Weights are random.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.variants import CONCATENATED  # noqa: E402
from vpt_core.backbones import load_backbone  # noqa: E402
from vpt_core.embed import Feed  # noqa: E402
from vpt_core.memory import held  # noqa: E402
from vpt_core.methods import METHODS  # noqa: E402
from vpt_core.methods.how import How  # noqa: E402
from vpt_core.model import Model  # noqa: E402
from vpt_core.precision import BFLOAT16, FLOAT32  # noqa: E402
from vpt_core.spec import Spec  # noqa: E402
from vpt_core.train import Step, fit  # noqa: E402

FILE = ROOT / "benchmarks" / "results" / "memory.csv"
FIELDS = ("variant", "peak_mb", "held_mb_an_image")
BACKBONE, SIZE, PROMPTS, BATCH, STEPS, CLASSES = "vit-b16-in21k:random", 224, 50, 16, 3, 100
OWN = {"vpt-frame": {"width": 16}, "vpt-shallow": {"prompts": PROMPTS}, "vpt-deep": {"prompts": PROMPTS}}
VARIANTS = {name: (name, {}, FLOAT32) for name in METHODS} | {
    "vpt-deep, lean": ("vpt-deep", {"how": How(lean=True)}, FLOAT32),
    "vpt-deep, bfloat16": ("vpt-deep", {}, BFLOAT16),
    "vpt-deep, concatenated": ("vpt-deep", CONCATENATED, FLOAT32),
}
HOW = {
    "vpt-deep, lean": "VPT-deep, keeping less and computing more",
    "vpt-deep, bfloat16": "VPT-deep in bfloat16",
    "vpt-deep, concatenated": "VPT-deep, prompts as tokens",
}


def main() -> None:
    """Measure what is not yet recorded, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--one", choices=list(VARIANTS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one)))
        return
    if not args.table:
        for variant in VARIANTS:
            if variant not in {row["variant"] for row in recorded()}:
                record(variant)
    print(table(recorded()))


def measure(variant: str) -> dict[str, float]:
    """Three steps in this process."""
    method, how, precision = VARIANTS[variant]
    torch.set_num_threads(1)
    empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = Model(load_backbone(BACKBONE), method, OWN.get(method, {}), CLASSES, image_size=SIZE, precision=precision)
    vars(model.method).update(how)
    pixels = np.random.default_rng(0).integers(0, 255, (BATCH * STEPS, SIZE, SIZE, 3), dtype=np.uint8)
    data = Feed(pixels, torch.arange(BATCH * STEPS) % CLASSES, 0)
    each = held(model, data, 2) - held(model, data, 1)
    none = Feed(pixels[:0], data.labels[:0], 0)
    spec = Spec(method=method, epochs=1, batch_size=BATCH, lr=1e-4)
    steps = [record.loss for record in fit(model, data, none, spec) if isinstance(record, Step)]
    assert len(steps) == STEPS
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - empty
    return {"peak_mb": round(peak * 1024 / 1e6), "held_mb_an_image": round(each / 1e6, 1)}


def record(variant: str) -> None:
    """Measure in a fresh process and append a line to the file."""
    said = subprocess.run([sys.executable, __file__, "--one", variant], check=True, capture_output=True, text=True).stdout
    fresh = not FILE.exists()
    with FILE.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        if fresh:
            writer.writeheader()
        writer.writerow({"variant": variant, **json.loads(said)})
    print(variant, said.strip(), flush=True)


def recorded() -> list[dict[str, str]]:
    """The lines of the file."""
    return list(csv.DictReader(FILE.open())) if FILE.exists() else []


def table(rows: list[dict[str, str]]) -> str:
    """Markdown."""
    titles = {name: method.title for name, method in METHODS.items()} | HOW
    lines = ["| method | peak, MB | kept for the backward, MB an image |", "|---|---|---|"]
    return "\n".join(lines + [f"| {titles[r['variant']]} | {int(r['peak_mb']):,} | {r['held_mb_an_image']} |" for r in rows])


if __name__ == "__main__":
    main()
