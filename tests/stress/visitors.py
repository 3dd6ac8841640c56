"""Many visitors at once on a public server: does anybody see another's, is a run lost, does the memory come back?

    python tests/stress/visitors.py --visitors 16 --seconds 300

Each visitor has a browser of their own (gradio_client), uploads a zip whose classes nobody else has, tunes on a tiny random
backbone, looks at the results and inside, and at random moments presses Stop, reloads, or closes the page for good and comes
as somebody new. The server is a process of its own, which drops idle data after some seconds. Prints a table; exit code 1
when anybody saw another's class, lost a run or got an error without words, or when the server's log has a traceback, which
then follows, or its memory is not back to within 200 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

os.environ |= {"VPT_PUBLIC": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from gradio_client.exceptions import AppError  # noqa: E402
from visiting import Visitor, photos, serving  # noqa: E402

from app import keeper, settings  # noqa: E402

IDLE = 120.0  # seconds after which the server of this test drops data
GROWN = 200.0  # megabytes
PATIENT = {"timeout": 60}  # seconds; a browser waits longer than the client's five, and the visitors share the server's machine


def main() -> int:
    """Serve, visit, and print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--visitors", type=int, default=16)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return _serve()
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, __file__, "--serve"]
        env = os.environ | {"VPT_RUNS": f"{home}/runs", "GRADIO_TEMP_DIR": f"{home}/cache"}
        with open(f"{home}/log", "w") as log:
            server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
            try:
                return _visit(server, Path(home), args.visitors, args.seconds)
            finally:
                server.kill()


def _serve() -> int:
    settings.IDLE_MINUTES = IDLE / 60
    settings.GRACE_SECONDS = 20
    keeper.TICK, keeper.SWEEP, keeper.PRESENT = 1.0, 2.0, IDLE
    keeper.begin()
    with serving() as url:
        print(url, flush=True)
        time.sleep(36_000)
    return 0


def _visit(server: subprocess.Popen, home: Path, many: int, seconds: int) -> int:
    url = server.stdout.readline().strip()
    seen: Counter[str] = Counter()
    _one(url, home, "warm", seen, random.Random(0))  # imports and warm-up do not count
    time.sleep(3)
    seen.clear()
    start, peak = _memory(server.pid), [0.0]
    end = time.monotonic() + seconds

    def person(k: int) -> None:
        chance = random.Random(k)
        round_ = 0
        while time.monotonic() < end:
            round_ += 1
            try:
                _one(url, home, f"v{k}r{round_}", seen, chance)
            except AssertionError as fault:
                seen[f"FAULT {fault}"] += 1
            except AppError as error:
                seen[f"refused: {str(error)[:60]}"] += 1
            except Exception as error:  # whatever a visitor of the page would not have got through
                seen[f"FAULT {type(error).__name__}: {str(error)[:60]}"] += 1

    threads = [threading.Thread(target=person, args=(k,)) for k in range(many)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        peak[0] = max(peak[0], _memory(server.pid))
        time.sleep(0.5)
    left = _emptied(home / "runs" / "visitors", 3 * IDLE)
    return _print(many, seconds, seen, (start, peak[0], _memory(server.pid)), left, home / "log")


def _one(url: str, home: Path, name: str, seen: Counter[str], chance: random.Random) -> None:
    """One visitor's stay."""
    classes = (f"{name}-one", f"{name}-two")
    me = Visitor(url, httpx_kwargs=PATIENT)
    me.upload(photos(home / f"{name}.zip", classes))
    _mine(str(me.call("show", me.source)), classes, name)
    seen["uploads"] += 1
    me.tune(methods=["vpt-deep"], epochs=chance.randint(2, 60), **{"vpt-deep-prompts": 2})
    seen["tunings"] += 1
    fate = chance.choice(["wait", "wait", "wait", "stop", "reload", "close"])
    time.sleep(chance.uniform(0, 2))
    if fate == "stop":
        me.call("halt", me.job)
    if fate == "reload":
        me.leave()
        me = _again(url, me)
    if fate == "close":
        me.leave()
        seen["closed while tuning or waiting"] += 1
        return
    text = _wait(me)
    if text.startswith(("Done", "Stopped in epoch")):
        _look(me, classes, name)
        seen["done and looked at"] += 1
    else:
        seen[f"ended before training: {text[:40]}"] += 1
    me.leave()


def _again(url: str, before: Visitor) -> Visitor:
    """The page after a reload: what the browser's storage held is all that is known."""
    me = Visitor(url, token=before.token, httpx_kwargs=PATIENT)
    me.source, me.job = before.source, before.job
    return me


def _wait(me: Visitor) -> str:
    while (bar := me.look()) is not None and bar["done"] is not None:
        time.sleep(0.5)
    assert bar is not None, "a job is unknown to its visitor"
    return bar["text"]


def _look(me: Visitor, classes: tuple[str, str], name: str) -> None:
    keys = [key for key in me.results() if json.loads(key)[0] == "False"]
    assert len(keys) == 1, f"{len(keys)} results instead of one"
    _mine(str(me.fill("compare-classes", keys[0])), classes, name)
    run = me.fill("inspect-run", keys[0], None)
    assert me.fill("inspect-attention", keys[0], run)["layers"] > 0, "no look inside"


def _mine(text: str, classes: tuple[str, str], name: str) -> None:
    """Raise unless the visitor's classes stand in `text` and no other visitor's."""
    assert all(c in text for c in classes), "a visitor's own class is missing"
    assert text.count("-one") == text.count(f"{name}-one") and text.count("-two") == text.count(f"{name}-two"), "cross-talk"


def _memory(process: int) -> float:
    """Resident megabytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


def _emptied(folder: Path, seconds: float) -> int:
    """How many visitors' folders are left once the idle ones should be gone."""
    end = time.monotonic() + seconds
    while (left := len(list(folder.glob("*")))) and time.monotonic() < end:
        time.sleep(1)
    time.sleep(2)
    return left


def _print(many: int, seconds: int, seen: Counter[str], memory: tuple[float, float, float], left: int, log: Path) -> int:
    faults = sum(n for what, n in seen.items() if what.startswith("FAULT"))
    said = log.read_text()
    tracebacks = said.count("Traceback")
    rows = [("visitors at once, seconds", f"{many}, {seconds}"), *((what, str(n)) for what, n in sorted(seen.items())),
            ("cross-talk, lost runs, errors without words", str(faults)), ("tracebacks in the server's log", str(tracebacks)),
            ("visitors' folders left after the idle drop", str(left)),
            ("server's memory at the start, peak, end, MB", ", ".join(f"{m:.0f}" for m in memory))]
    width = max(len(what) for what, _ in rows)
    print("\n".join(f"{what:{width}}  {value}" for what, value in rows))
    if tracebacks:
        print(said[said.index("Traceback") :])
    return 1 if faults or left or tracebacks or memory[2] > memory[0] + GROWN else 0


if __name__ == "__main__":
    sys.exit(main())
