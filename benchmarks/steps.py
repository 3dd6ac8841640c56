"""What a training step and an inference of prompted models cost, as ratios measured side by side in one run.

    python benchmarks/steps.py --quick     the core at ViT-S/16, 224 px, 50 prompts, batch 4; ends with one line of JSON
    python benchmarks/steps.py             the same at batch 16, and --model ViT-B/16; results/steps.csv

One thread, process CPU time, variants interleaved, medians with the middle half of the rounds. Weights are random: time
does not depend on them. Rows in bf16 are measured only where the machine multiplies bf16 faster than float32.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from benchmarks.side_by_side import Ratio, machine, ratio, seconds_of  # noqa: E402
from vpt_core.backbones import Backbone, load_backbone  # noqa: E402
from vpt_core.model import Model  # noqa: E402

MODELS = {"ViT-S/16": "vit-s16-augreg:random", "ViT-B/16": "vit-b16-in21k:random"}
CLASSES = 10
RESULTS = ROOT / "benchmarks" / "results"


def step(model: Model, x: Tensor, start: int = 0) -> Callable[[], None]:
    """One training step on a batch: forward, backward, AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    labels = torch.arange(len(x)) % CLASSES

    def run() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x, start), labels).backward()
        optimizer.step()

    return run


def inference(model: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    """A forward pass without gradients."""

    @torch.no_grad()
    def run() -> None:
        model(x)

    return run


def deep(backbone: Backbone, size: int, prompts: int = 50, layers: str = "all", **path: bool) -> Model:
    """VPT-deep, by the path that it chooses or by another one (`keyed`, `by_hand`, `lean`)."""
    options = {"prompts": prompts, "dropout": 0.0, "layers": layers}
    model = Model(backbone, "vpt-deep", options, CLASSES, image_size=size)
    vars(model.method).update(path)
    return model


def cached(model: Model, x: Tensor) -> Callable[[], None]:
    """A step on the outputs of the frozen leading stages, which are computed once, before."""
    with torch.no_grad():
        entering = model.run(x, 0, model.method.cut)
    return step(model, entering, model.method.cut)


def products(backbone: Backbone, tokens: int, batch: int, prompts: int) -> Callable[[], None]:
    """The matrix products of a deep step alone, forward and backward, on numbers that are there already."""
    pairs: list[tuple[Tensor, Tensor]] = []
    last = backbone.layers[-1]
    for i in backbone.layers:
        rows = 1 if i == last else tokens
        attn, mlp = backbone.stages[i].attn, backbone.stages[i].mlp
        for n, weight in ((tokens, attn.qkv.weight), *((rows, part.weight) for part in (attn.proj, mlp.fc1, mlp.fc2))):
            to, back = torch.randn(batch * n, weight.shape[1]), torch.randn(batch * n, weight.shape[0])
            first_projection = i == backbone.layers[0] and weight is attn.qkv.weight
            pairs += [(to, weight.t())] if first_projection else [(to, weight.t()), (back, weight)]
        heads, dim = batch * attn.num_heads, attn.head_dim
        q, keys = torch.randn(heads, rows, dim), torch.randn(heads, tokens + prompts, dim)
        scores = torch.randn(heads, rows, tokens + prompts)
        forward = [(q, keys.transpose(1, 2)), (scores, keys)]
        pairs += forward + forward + [(scores.transpose(1, 2), q), (scores.transpose(1, 2), q), (q, keys.transpose(1, 2))]

    @torch.no_grad()
    def run() -> None:
        for a, b in pairs:
            a @ b

    return run


def measure(
    name: str, batch: int, rounds: int, size: int = 224, prompts: int = 50, only: tuple[str, ...] = ()
) -> dict[str, Ratio]:
    """The rows of the table: name to ratio."""
    backbone = load_backbone(MODELS[name])
    x = torch.rand(batch, 3, size, size)
    with torch.no_grad():
        tokens = backbone.stem(x[:1]).shape[1]
    linear = Model(backbone, "linear", {}, CLASSES, image_size=size)
    prompted, by_hand = deep(backbone, size, prompts), deep(backbone, size, prompts, by_hand=False)
    variants: dict[str, Callable[[], object]] = {
        "deep": step(prompted, x),
        "deep, autograd's backward": step(by_hand, x),
        "deep, concatenated": step(deep(backbone, size, prompts, keyed=False), x),
        "deep, 100 prompts": step(deep(backbone, size, 100), x),
        "deep, 1 prompt": step(deep(backbone, size, 1), x),
        "deep, last 4, cached": cached(deep(backbone, size, prompts, layers="last 4"), x),
        "deep, last 1, cached": cached(deep(backbone, size, prompts, layers="last 1"), x),
        "products": products(backbone, tokens, batch, prompts),
        "shallow": step(Model(backbone, "vpt-shallow", {"prompts": prompts}, CLASSES, image_size=size), x),
        "LoRA, rank 8": step(Model(backbone, "lora", {}, CLASSES, image_size=size), x),
        "full": step(Model(backbone, "full", {}, CLASSES, image_size=size), x),
        "backbone": inference(backbone, x),
        "prompted": inference(prompted.eval(), x),
        "linear, live": step(linear, x),
        "linear, cached": cached(linear, x),
    }
    rows = {row: pair for row, pair in ROWS.items() if not only or row in only}
    seconds = seconds_of({k: run for k, run in variants.items() if any(k in pair for pair in rows.values())}, rounds)
    return {row: ratio(seconds, *pair) for row, pair in rows.items()}


ROWS = {
    "deep step / concatenated": ("deep", "deep, concatenated"),
    "deep step / the same with autograd's backward": ("deep", "deep, autograd's backward"),
    "deep step / its matrix products alone": ("deep", "products"),
    "deep step / forward of the bare backbone": ("deep", "backbone"),
    "deep step, 100 prompts / 1 prompt": ("deep, 100 prompts", "deep, 1 prompt"),
    "deep step / LoRA step": ("deep", "LoRA, rank 8"),
    "deep step / full step": ("deep", "full"),
    "shallow step / concatenated deep step": ("shallow", "deep, concatenated"),
    "last 4 of 12 layers, cached / all": ("deep, last 4, cached", "deep"),
    "last 1 of 12 layers, cached / all": ("deep, last 1, cached", "deep"),
    "prompted inference / bare backbone": ("prompted", "backbone"),
    "linear step, cached / live": ("linear, cached", "linear, live"),
}
QUICK = tuple(row for row in ROWS if "full" not in row and "shallow" not in row)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the core in under a minute")
    parser.add_argument("--model", choices=list(MODELS), default="ViT-S/16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    torch.set_num_threads(1)
    batch, rounds = (2, 5) if args.quick else (args.batch, args.rounds)
    rows = measure(args.model, batch, rounds, only=QUICK if args.quick else ())
    print(f"{args.model}, 224 px, 50 prompts, batch {batch}, {rounds} rounds; {machine()}\n")
    print("| what | ratio: median (middle half) |\n|---|---|")
    print("\n".join(f"| {row} | {value} |" for row, value in rows.items()))
    if not args.quick:
        write(args.model, batch, rows)
    print(json.dumps({row: round(value.median, 4) for row, value in rows.items()}))


def write(name: str, batch: int, rows: dict[str, Ratio]) -> None:
    """Replace the rows of this model in the file."""
    path = RESULTS / "steps.csv"
    kept = [line for line in csv.reader(path.open()) if line[0] not in (name, "model")] if path.exists() else []
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "pixels", "prompts", "batch", "what", "median", "low", "high", "machine"])
        writer.writerows(kept)
        writer.writerows([name, 224, 50, batch, row, f"{r.median:.4f}", f"{r.low:.4f}", f"{r.high:.4f}", machine()]
                         for row, r in rows.items())


if __name__ == "__main__":
    main()
