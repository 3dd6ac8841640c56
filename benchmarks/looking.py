"""How long looking inside takes: atlas of 200 test images, knock-out of every prompt, near patches, on the recorded runs.

    python benchmarks/looking.py --images 16 --threads 2

The knock-out is measured on `--images` images and printed for 200 as well, in proportion.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from vpt_core.analysis import attention_and_effect, find_near, knock_out, read_atlas  # noqa: E402
from vpt_core.embed import drain  # noqa: E402
from vpt_core.paths import ASSETS  # noqa: E402
from vpt_core.runs import Run  # noqa: E402
from vpt_core.tasks import load_task  # noqa: E402


def timed(what: str, work: Generator[Any, None, Any], scale: float = 1.0) -> Any:
    """Run `work` to its end and print its seconds, on the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    found = drain(work)
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    more = f"; for 200 images {scale * clock:.0f} s, {scale * processor:.0f} s of the processor" if scale != 1 else ""
    print(f"  {what}: {clock:.1f} s, {processor:.1f} s of the processor{more}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16, help="images of the knock-out")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--methods", nargs="+", default=["vpt-deep", "vpt-shallow"])
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    for method in given.methods:
        run = Run(ASSETS / "demo" / method)
        model, task = run.classifier().model, load_task(run.spec.task)
        splits = task.splits(run.spec.seed, run.spec.shots)
        images = task.resized(run.spec.image_size)
        test = np.random.default_rng(0).permutation(splits.test)[:200]
        print(f"{method}, {given.threads} threads")
        timed("atlas of 200 images", read_atlas(model, images[test], task.labels[test]))
        timed(f"near patches of {len(splits.train)} images", find_near(model, images[splits.train]))
        some = test[: given.images]
        what = f"knock-out of each prompt of each layer, {given.images} images"
        found = timed(what, knock_out(model, images[some], task.labels[some]), 200 / given.images)
        print(f"  {attention_and_effect(found).sentence}")


if __name__ == "__main__":
    main()
