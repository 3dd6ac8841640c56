"""Kill training again and again, and look whether anything was lost.

    python tests/stress/kill_loop.py --kills 25

Each time a child process tunes on where the last one was killed: kill -9, at a random moment within the time that a whole
run takes, half of the times when next a file is being written; there is a checkpoint after every epoch. After each kill every
finished run has to be what it was, byte for byte, and the broken one has to be marked and its best so far usable. At the end
all that is left is gone on with, and every run has to equal one that was never broken. Exit code 1 when anything was lost.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from tiny import RANDOM, SIZE, pictures, saved_task  # noqa: E402

from vpt_core import checkpoint  # noqa: E402
from vpt_core.backbones import load_backbone  # noqa: E402
from vpt_core.execute import execute, resume, tune  # noqa: E402
from vpt_core.files import PART  # noqa: E402
from vpt_core.runs import Run, list_runs, new_run  # noqa: E402
from vpt_core.spec import Spec  # noqa: E402

CLOSE = 1e-5


def main() -> int:
    """Kill, check, go on, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint.SHARE = 1.0
    with tempfile.TemporaryDirectory() as folder:
        return _loop(Path(folder), args.kills, args.epochs, random.Random(args.seed))


def _loop(home: Path, kills: int, epochs: int, chance: random.Random) -> int:
    spec = Spec(task=saved_task(home / "task"), backbone=RANDOM, options={"prompts": 2, "dropout": 0.2}, image_size=SIZE,
                epochs=epochs, batch_size=6, lr=1e-2, seed=4)
    load_backbone(RANDOM)
    tune(spec, home / "warm")
    began = time.monotonic()
    whole = tune(spec, home / "whole")
    usual = time.monotonic() - began
    seen: Counter[str] = Counter()
    faults: list[str] = []
    before: dict[str, str] = {}
    for _ in range(kills):
        moment = _killed(spec, home / "runs", chance.uniform(0, usual), chance.random() < 0.5)
        seen[moment] += 1
        faults += _faults(home / "runs", before)
    for run in list_runs(home / "runs"):
        if run.unfinished:
            resume(run.folder)
            seen["gone on with at the end"] += 1
    worst = [_difference(run, whole) for run in list_runs(home / "runs")]
    faults += [f"a run differs by {worst}" for worst in worst if not worst <= CLOSE]
    _print(seen, worst, usual, faults)
    return 1 if faults else 0


def _killed(spec: Spec, root: Path, after: float, writing: bool) -> str:
    """Tune in a child, on the newest run if it is unfinished, else on a new one; kill it. Gives what it was doing.

    `writing`: wait for the next moment in which a file is being written, a second at most.
    """
    child = os.fork()
    if child == 0:
        try:
            newest = next(iter(list_runs(root)), None)
            for _ in execute(newest if newest and newest.unfinished else new_run(spec, root)):
                pass
            time.sleep(60)  # to be killed after its end too
        finally:
            os._exit(1)
    time.sleep(after)
    end = time.monotonic() + 1.0
    while writing and not _parts(root) and time.monotonic() < end:
        time.sleep(0)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    newest = next(iter(list_runs(root)), None)
    if newest is None:
        return "killed before there was a run"
    if newest.finished:
        return "killed after the end"
    if _parts(root):
        return "killed while a file was being written"
    return "killed before the first checkpoint" if not newest.checkpoint.exists() else "killed between two files"


def _parts(root: Path) -> list[str]:
    return [f.name for f in root.glob(f"*/*{PART}") if not f.name.startswith("ballast")]


def _faults(root: Path, before: dict[str, str]) -> list[str]:
    """What is wrong with the runs after a kill; `before` holds the digests of those that had finished."""
    found = []
    for run in list_runs(root):
        if run.finished:
            digest = _digest(run)
            if before.setdefault(run.name, digest) != digest:
                found.append(f"{run.name} changed after it had finished")
        elif run.status["state"] != "interrupted":
            found.append(f"{run.name} is {run.status['state']}")
        if run.finished or run.prompt_file.exists():
            logits = run.classifier().logits(pictures(np.arange(3)))
            found += [] if np.isfinite(logits).all() and logits.shape == (3, 3) else [f"{run.name} cannot predict"]
        epochs = [e.epoch for e in run.history]
        found += [] if epochs == list(range(1, len(epochs) + 1)) else [f"{run.name} has epochs {epochs}"]
    return found


def _digest(run: Run) -> str:
    files = sorted(f for f in run.folder.rglob("*") if f.is_file() and f.suffix != PART and f != run.checkpoint)
    return hashlib.sha256(b"".join(f.name.encode() + f.read_bytes() for f in files)).hexdigest()


def _difference(run: Run, whole: Run) -> float:
    """The largest difference of any number that was recorded or learned, times aside."""
    if run.status["state"] != "done":
        return float("inf")
    pairs = [(_history(run), _history(whole)), (run.array("logits"), whole.array("logits"))]
    here, there = (r.classifier().model.state_dict() for r in (run, whole))
    pairs += [(here[name].numpy(), there[name].numpy()) for name in there]
    return max(float(np.abs(a - b).max()) if a.shape == b.shape else float("inf") for a, b in pairs)


def _history(run: Run) -> np.ndarray:
    return np.array([[float(v) for k, v in asdict(e).items() if k != "seconds"] for e in run.history])


def _print(seen: Counter[str], worst: list[float], usual: float, faults: list[str]) -> None:
    rows = [("a run that is never broken", f"{usual:.1f} s"), *((what, str(n)) for what, n in sorted(seen.items())),
            ("runs, all finished in the end", str(len(worst))),
            ("largest difference from the unbroken run", f"{max(worst, default=0):.1g}"), ("faults", str(len(faults)))]
    width = max(len(what) for what, _ in rows)
    print("\n".join(f"{what:{width}}  {value:>8}" for what, value in rows))
    print("\n".join(faults))


if __name__ == "__main__":
    sys.exit(main())
