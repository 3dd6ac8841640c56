"""What a training step and an inference of prompted models cost, as ratios measured side by side in one run.

    python benchmarks/steps.py --quick     the core at ViT-S/16, 224 px, 50 prompts, batch 2; ends with one line of JSON
    python benchmarks/steps.py             the same at batch 16, and --model ViT-B/16; results/steps.csv
    python benchmarks/steps.py --table     the table from that file
    python benchmarks/steps.py --profile   where the time of one deep step goes; results/profile.csv

One thread, process CPU time, variants interleaved, medians with the middle half of the rounds. Weights are random: time
does not depend on them. The row of peft's LoRA needs the package peft; those of bfloat16 are there where the machine
is faster in it, or by --bfloat16.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.flops import flops, products  # noqa: E402
from benchmarks.side_by_side import Ratio, machine, ratio, seconds_of  # noqa: E402
from benchmarks.variants import (  # noqa: E402
    CLASSES,
    CONCATENATED,
    MODELS,
    autocast,
    cached,
    deep,
    inference,
    many_tasks,
    peft_lora,
    step,
)  # fmt: skip
from vpt_core.backbones import Backbone, load_backbone  # noqa: E402
from vpt_core.embed import Feed  # noqa: E402
from vpt_core.memory import held  # noqa: E402
from vpt_core.methods.how import How, packing_gain, products_gain  # noqa: E402
from vpt_core.model import Model  # noqa: E402
from vpt_core.precision import BFLOAT16, WORTH, bfloat16_gain  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
FILE = RESULTS / "steps.csv"


def memory(backbone: Backbone, size: int, prompts: int, bfloat16: bool) -> dict[str, Ratio]:
    """What one more image holds for the backward of a deep step, against prompts as tokens in float32."""
    data = Feed(np.zeros((2, size, size, 3), np.uint8), torch.zeros(2, dtype=torch.int64), 0)

    def each(**path: object) -> int:
        model = deep(backbone, size, prompts, **path)
        return held(model, data, 2) - held(model, data, 1)

    whole = each(**CONCATENATED)
    found = {HELD[0]: each() / whole, HELD[1]: each(how=How(lean=True)) / whole}
    if bfloat16:
        found[HELD[2]] = each(precision=BFLOAT16) / whole
    return {row: Ratio(share, share, share) for row, share in found.items()}


def measure(
    name: str, batch: int, rounds: int, size: int = 224, prompts: int = 50, only: tuple[str, ...] = (), bfloat16: bool = False
) -> dict[str, Ratio]:
    """The rows of the table: name to ratio; those of bfloat16 too if they are asked for."""
    backbone = load_backbone(MODELS[name])
    x = torch.rand(batch, 3, size, size)
    with torch.no_grad():
        tokens = backbone.stem(x[:1]).shape[1]
    linear = Model(backbone, "linear", {}, CLASSES, image_size=size)
    prompted, by_autograd = deep(backbone, size, prompts), deep(backbone, size, prompts, how=None)
    variants: dict[str, Callable[[], object]] = {
        "deep": step(prompted, x),
        "deep, autograd's backward": step(by_autograd, x),
        "deep, concatenated": step(deep(backbone, size, prompts, **CONCATENATED), x),
        "deep, 100 prompts": step(deep(backbone, size, 100), x),
        "deep, 1 prompt": step(deep(backbone, size, 1), x),
        "deep, last 4, cached": cached(deep(backbone, size, prompts, layers="last 4"), x),
        "deep, last 1, cached": cached(deep(backbone, size, prompts, layers="last 1"), x),
        "products": products(backbone, tokens, batch, prompts),
        "large product": inference(torch.randn(SQUARE, SQUARE).matmul, torch.randn(SQUARE, SQUARE)),
        "shallow": step(Model(backbone, "vpt-shallow", {"prompts": prompts}, CLASSES, image_size=size), x),
        "LoRA, rank 8": step(Model(backbone, "lora", {}, CLASSES, image_size=size), x),
        "full": step(Model(backbone, "full", {}, CLASSES, image_size=size), x),
        "backbone": inference(backbone, x),
        "prompted": inference(deep(backbone, size, prompts).eval(), x),  # a model of its own: a step leaves training mode on
        "linear, live": step(linear, x),
        "linear, cached": cached(linear, x),
    }
    variants |= many_tasks(backbone, size // 2)
    peft = peft_lora(backbone) if find_spec("peft") else None
    if peft:
        variants["peft's LoRA"] = step(peft, x)
    if bfloat16:
        variants["deep, bfloat16"] = step(deep(backbone, size, prompts, precision=BFLOAT16), x)
        variants["products, bfloat16"] = products(backbone, tokens, batch, prompts, torch.bfloat16)
        variants["prompted, bfloat16"] = inference(deep(backbone, size, prompts, precision=BFLOAT16).eval(), x)
        variants["backbone, bfloat16"] = autocast(inference(backbone.rounded, x))
        if peft:
            variants["peft's LoRA, bfloat16"] = autocast(step(peft, x))
    rows = {row: pair for row, pair in ROWS.items() if (not only or row in only) and set(pair) <= set(variants)}
    found = {}
    # Inference takes turns by itself: a step before it leaves the allocator in another state, and it is short.
    steps = [row for row in rows if not row.startswith(INFERENCE)]
    for group, times in (steps, 1), ([row for row in rows if row not in steps], 2):
        wanted = {k: variants[k] for row in group for k in rows[row]}
        seconds = seconds_of(wanted, times * rounds)
        found |= {row: ratio(seconds, *rows[row]) for row in group}
    if RATE in found:  # of times so far: the other way round it is that of rates, were the numbers of operations equal
        found[RATE] = found[RATE].times(flops(backbone, tokens, batch, prompts) / (2 * SQUARE**3))
    return {row: found[row] for row in rows} | memory(backbone, size, prompts, bfloat16)


RATE = "operations a second of a deep step / of one large matrix product"
SQUARE = 1024
HELD = (
    "memory an image holds for the backward, deep / concatenated",
    "memory an image holds, computing most of it again / concatenated",
    "memory an image holds in bfloat16 / concatenated in float32",
)
INFERENCE = ("prompted inference", "inference")
ROWS = {
    "deep step / concatenated": ("deep", "deep, concatenated"),
    "deep step / the same with autograd's backward": ("deep", "deep, autograd's backward"),
    "deep step / its matrix products alone": ("deep", "products"),
    RATE: ("large product", "deep"),
    "deep step / forward of the bare backbone": ("deep", "backbone"),
    "deep step, 100 prompts / 1 prompt": ("deep, 100 prompts", "deep, 1 prompt"),
    "deep step / LoRA step": ("deep", "LoRA, rank 8"),
    "deep step / peft's LoRA step, rank 8 on qkv": ("deep", "peft's LoRA"),
    "deep step / full step": ("deep", "full"),
    "shallow step / concatenated deep step": ("shallow", "deep, concatenated"),
    "last 4 of 12 layers, cached / all": ("deep, last 4, cached", "deep"),
    "last 1 of 12 layers, cached / all": ("deep, last 1, cached", "deep"),
    "prompted inference / bare backbone": ("prompted", "backbone"),
    "inference of 24 tasks in one batch / of one task (112 px, 10 prompts)": ("24 tasks", "one task"),
    "linear step, cached / live": ("linear, cached", "linear, live"),
    "deep step in bfloat16 / concatenated in float32": ("deep, bfloat16", "deep, concatenated"),
    "deep step in bfloat16 / float32 forward of the bare backbone": ("deep, bfloat16", "backbone"),
    "deep step / its matrix products alone, both bfloat16": ("deep, bfloat16", "products, bfloat16"),
    "deep step / peft's LoRA step, both bfloat16": ("deep, bfloat16", "peft's LoRA, bfloat16"),
    "prompted inference / bare backbone, both bfloat16": ("prompted, bfloat16", "backbone, bfloat16"),
}
QUICK = tuple(row for row in ROWS if "full" not in row and "shallow" not in row)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the core in under a minute")
    parser.add_argument("--model", choices=list(MODELS), default="ViT-S/16")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--table", action="store_true", help="only print the table of what was measured")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--bfloat16", action="store_true", help="its rows too, also where this machine is slower in it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.profile:
        profile(args.model, args.batch)
        return
    if args.table:
        with FILE.open() as file:
            print(table(list(csv.DictReader(file))))
        return
    batch, rounds = (2, 5) if args.quick else (args.batch, args.rounds)
    gain = bfloat16_gain()
    bfloat16 = args.bfloat16 or gain >= WORTH
    rows = measure(args.model, batch, rounds, only=QUICK if args.quick else (), bfloat16=bfloat16)
    print(f"This machine multiplies in bfloat16 {gain:g} times as fast as in float32.")
    if bfloat16:
        print(f"In it, attention as products is {products_gain():g} times as fast as by flash kernels, and a layer with packed "
              f"weights {packing_gain():g} times as fast as with plain ones (0: this machine cannot).")
    print(f"{args.model}, 224 px, 50 prompts, batch {batch}, {rounds} rounds; {machine()}\n")
    print("| what | ratio: median (middle half) |\n|---|---|")
    print("\n".join(f"| {row} | {value} |" for row, value in rows.items()))
    if not args.quick:
        write(args.model, batch, rows)
    print(json.dumps({row: round(value.median, 4) for row, value in rows.items()}))


def profile(name: str, batch: int) -> None:
    """The share of each of torch's operations in the CPU time of a deep step, those of 1 % and more."""
    run = step(deep(load_backbone(MODELS[name]), 224), torch.rand(batch, 3, 224, 224))
    run()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        run()
    parts = sorted(seen.key_averages(), key=lambda part: -part.self_cpu_time_total)
    total = sum(part.self_cpu_time_total for part in parts)
    lines = [[part.key, part.count, f"{part.self_cpu_time_total / total:.4f}"] for part in parts]
    shown = [line for line in lines if float(line[2]) >= 0.01]
    print("\n".join(f"{share:>8}  {count:>5}  {key}" for key, count, share in shown))
    with (RESULTS / "profile.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["operation", "calls", "share"], *shown])


def write(name: str, batch: int, rows: dict[str, Ratio]) -> None:
    """Replace the rows of this model in the file."""
    kept = [line for line in csv.reader(FILE.open()) if line[0] not in (name, "model")] if FILE.exists() else []
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["model", "pixels", "prompts", "batch", "what", "median", "low", "high", "machine"])
        writer.writerows(kept)
        writer.writerows([name, 224, 50, batch, row, f"{r.median:.4f}", f"{r.low:.4f}", f"{r.high:.4f}", machine()]
                         for row, r in rows.items())


def table(lines: list[dict[str, str]]) -> str:
    """What was measured of each model, as medians with the middle half of the rounds."""
    found = {(line["what"], line["model"]): Ratio(*(float(line[key]) for key in ("median", "low", "high"))) for line in lines}
    batches = dict.fromkeys((line["model"], line["batch"]) for line in lines)
    head = ["| ratio of CPU times (224 px, 50 prompts) | " + " | ".join(f"{m}, batch {b}" for m, b in batches) + " |",
            "|---|" + "---|" * len(batches)]  # fmt: skip
    order = dict.fromkeys(line["what"] for line in lines)
    rows = [[what, *(str(found.get((what, m), "")) for m, _ in batches)] for what in order]
    return "\n".join([*head, *("| " + " | ".join(row) + " |" for row in rows)])


if __name__ == "__main__":
    main()
