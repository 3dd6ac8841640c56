"""What 24 tasks on one frozen backbone cost, against 24 fine-tuned models: the table of the README.

    python benchmarks/many_tasks.py            about three minutes on an idle core; writes benchmarks/results/many_tasks.csv
    python benchmarks/many_tasks.py --table    prints the table of what is in the file

The tasks have VPT-deep prompts drawn at random (10 a layer) and 2 to 25 classes; time and memory do not depend on what
was learned. Each round times every way of classifying 24 images once, one after the other. What is kept are medians of the
process's CPU time on one thread, which other work on the machine changes less than the clock, and of the ratio to the mixed
pass of the same round. Memory is the resident set of a fresh process after loading and one batch, less that of one that has
only imported the library (medians of three).
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in app.py

import numpy as np  # noqa: E402
import torch  # noqa: E402

from vpt_core import Model, load_backbone, load_prompts  # noqa: E402
from vpt_core.backbones import to_pixels  # noqa: E402
from vpt_core.prompt_file import About, save_prompt  # noqa: E402

FILE = ROOT / "benchmarks" / "results" / "many_tasks.csv"
FIELDS = ("way", "milliseconds", "lowest", "highest", "of_mixed", "rounds", "memory_mb", "disk_mb")
NAME, SIZE, TASKS, OPTIONS = "vit-s14-saliency", 112, 24, {"prompts": 10}
WAYS = {
    "mixed": "one backbone, each image of another task, one pass",
    "one task": "one backbone, all images of one task, one pass",
    "one by one": "one backbone, each image of another task, 24 passes",
    "models": "24 fine-tuned models, 24 passes",
}


def main() -> None:
    """Measure, keep, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--memory", choices=("nothing", "prompts", "models"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.memory:
        print(resident(args.memory, args.folder))
        return
    if not args.table:
        with tempfile.TemporaryDirectory() as folder:
            write(measure(write_prompts(Path(folder)), args.rounds))
    print(table(recorded()))


def write_prompts(folder: Path) -> Path:
    """24 prompt files with 2 to 25 classes."""
    backbone = load_backbone(NAME)
    for k in range(TASKS):
        model = Model(backbone, "vpt-deep", OPTIONS, 2 + k, seed=k, image_size=SIZE)
        classes = [f"class {c}" for c in range(2 + k)]
        about = About(NAME, backbone.weights_hash, "vpt-deep", OPTIONS, classes, SIZE, f"task {k}", k, "")
        save_prompt(folder / f"{k:02}.safetensors", model, about)
    return folder


def fine_tuned() -> list[Callable[[torch.Tensor], torch.Tensor]]:
    """24 models with all weights of their own, as full fine-tuning leaves them."""
    backbone = load_backbone(NAME)
    bodies = [backbone, *(deepcopy(backbone) for _ in range(TASKS - 1))]
    return [torch.nn.Sequential(body, torch.nn.Linear(backbone.embed_dim, 2 + k)).eval() for k, body in enumerate(bodies)]


def photos() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (TASKS, SIZE, SIZE, 3), dtype=np.uint8)


@torch.no_grad()
def one_by_one(models: list[Callable[[torch.Tensor], torch.Tensor]]) -> None:
    for model, photo in zip(models, photos(), strict=True):
        model(to_pixels(photo[None]))


def measure(folder: Path, rounds: int) -> list[tuple[object, ...]]:
    """A row of the file for each way."""
    nothing, prompts, copies = (memory(what, folder) for what in ("nothing", "prompts", "models"))
    many, models = load_prompts(sorted(folder.iterdir())), fine_tuned()
    first = many.names[0]
    ways = {
        "mixed": lambda: many.logits(photos(), many.names),
        "one task": lambda: many.classifier(first).logits(photos()),
        "one by one": lambda: one_by_one([many.model(name) for name in many.names]),
        "models": lambda: one_by_one(models),
    }
    seconds = interleaved(ways, rounds)
    backbone = 4 * many.backbone.params  # as float32, whatever its own file has
    files = sum(file.stat().st_size for file in folder.iterdir())
    heads = sum(4 * (many.backbone.embed_dim + 1) * (2 + k) for k in range(TASKS))
    rows = []
    for way, took in seconds.items():
        shared = way != "models"
        held = (prompts if shared else copies) - nothing
        disk = (backbone + files if shared else TASKS * backbone + heads) / 1e6
        times = (f"{1000 * t:.0f}" for t in (statistics.median(took), min(took), max(took)))
        of_mixed = statistics.median(t / mixed for t, mixed in zip(took, seconds["mixed"], strict=True))
        rows.append((way, *times, f"{of_mixed:.2f}", rounds, f"{held:.0f}", f"{disk:.1f}"))
    return rows


def interleaved(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each way in each round, after one round that does not count; every other round goes backwards."""
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way in list(ways)[:: 1 if number % 2 else -1]:
            began = time.process_time()
            ways[way]()
            if number:
                seconds[way].append(time.process_time() - began)
    return seconds


def memory(what: str, folder: Path) -> float:
    """Resident MB of a fresh process that holds `what` and has classified 24 images with it; the median of three."""
    command = [sys.executable, __file__, "--memory", what, "--folder", str(folder)]
    return statistics.median(
        float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(3)
    )


def resident(what: str, folder: Path) -> float:
    """Resident MB of this process once it holds `what` and has classified 24 images with it."""
    if what == "prompts":
        many = load_prompts(sorted(folder.iterdir()))
        many.logits(photos(), many.names)
    elif what == "models":
        models = fine_tuned()  # a name, so that they are still there below
        one_by_one(models)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def write(rows: list[tuple[object, ...]]) -> None:
    with FILE.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([FIELDS, *rows])


def recorded() -> list[dict[str, str]]:
    """The lines of the file."""
    return list(csv.DictReader(FILE.open()))


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: what 24 images of 24 tasks cost in each way."""
    lines = ["| 24 images | CPU time in ms (lowest to highest) | of the first line | memory | on disk |", "|---|" + 4 * "---|"]
    for row in rows:
        lines.append(
            f"| {WAYS[row['way']]} | {row['milliseconds']} ({row['lowest']} to {row['highest']}) | {row['of_mixed']} | "
            f"{row['memory_mb']} MB | {row['disk_mb']} MB |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
