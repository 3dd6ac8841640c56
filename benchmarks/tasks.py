"""What each method reaches on each built-in task: the table of the README.

    python benchmarks/tasks.py                       all built-in tasks, 5 seeds; appends to benchmarks/results/tasks.csv
    python benchmarks/tasks.py --tasks stamps --seeds 2
    python benchmarks/tasks.py --table               prints the table of what is in the file; --wide: a line a method
    python benchmarks/tasks.py --tasks DATA/flowers5 DATA/bloodcells --methods all --seeds 3 --file methods.csv

A run that the file already holds is not run again. The seed draws the training images, the first weights and the order;
the test images of a task are always the same.
"""

from __future__ import annotations

import argparse
import csv
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as in app.py

from vpt_core import METHODS, TASKS, Spec, tune  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
FIELDS = ("task", "method", "seed", "shots", "epochs", "correct", "total", "trained", "bytes", "seconds", "threads")


def main() -> None:
    """Run what is asked and not yet recorded, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    honest = [name for name, row in TASKS.items() if not row.twins]
    parser.add_argument("--tasks", nargs="+", default=honest, help="built-in ones, or folders of class folders")
    parser.add_argument("--methods", nargs="+", default=["linear", "vpt-shallow", "vpt-deep"], choices=["all", *METHODS])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--shots", type=int, default=8)
    parser.add_argument("--file", default="tasks.csv", help="in benchmarks/results")
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--wide", action="store_true", help="a line a method and a column a task")
    args = parser.parse_args()
    file = RESULTS / args.file
    methods = list(METHODS) if "all" in args.methods else args.methods
    if not args.table:
        there = {(row["task"], row["method"], int(row["seed"])) for row in recorded(file)}
        for seed in range(args.seeds):
            for task in args.tasks:
                for method in methods:
                    if (Path(task).name, method, seed) not in there:
                        record(Spec(task=task, method=method, seed=seed, shots=args.shots, **METHODS[method].recipe), file)
    print((wide if args.wide else table)(recorded(file)))


def record(spec: Spec, path: Path) -> None:
    """Tune, and append a line to the file."""
    with tempfile.TemporaryDirectory() as folder:
        run = tune(spec, folder)
        status, result = run.status, run.test
    values = (
        Path(spec.task).name,
        spec.method,
        spec.seed,
        spec.shots,
        spec.epochs,
        result.correct,
        result.total,
        status["trained"],
        status["file_bytes"],
        status["seconds"]["total"],
        status["threads"],
    )
    path.parent.mkdir(exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([FIELDS] * fresh + [values])
    print(f"{spec.task} {spec.method} seed {spec.seed}: {result}", flush=True)


def recorded(path: Path) -> list[dict[str, str]]:
    """The lines of the file."""
    return list(csv.DictReader(path.open())) if path.exists() else []


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: for each task and method the mean accuracy, its spread over seeds, and what it costs."""
    groups = _groups(rows)
    lines = [
        "| task | method | test accuracy in % (± 95 % interval of the mean) | learned numbers | file | seconds |",
        "|---|---|---|---|---|---|",
    ]
    places = {task: place for place, task in enumerate(TASKS)}
    for task in sorted(dict.fromkeys(row["task"] for row in rows), key=lambda task: places.get(task, len(places))):
        for method in METHODS:
            if (task, method) in groups:
                lines.append(_line(task, method, groups[task, method]))
    return "\n".join(lines)


def wide(rows: list[dict[str, str]]) -> str:
    """Markdown: a line a method, its accuracy on each task; numbers, bytes and seconds are those of the last task."""
    groups, tasks = _groups(rows), list(dict.fromkeys(row["task"] for row in rows))
    names = [f"{task} ({groups[task, 'linear'][0]['total']} test images)" for task in tasks]
    lines = [f"| method | {' | '.join(names)} | learned numbers | file | seconds |", "|---" * (len(tasks) + 4) + "|"]
    for method in METHODS:
        mine = [groups[task, method] for task in tasks]
        if all(mine):
            cells = [_accuracy(part).partition(" (")[0] for part in mine]
            lines.append(f"| {METHODS[method].title} | {' | '.join(cells)} | {_costs(mine[-1])} |")
    return "\n".join(lines)


def _groups(rows: list[dict[str, str]]) -> dict[tuple[str, str], list[dict[str, str]]]:
    groups: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        groups[row["task"], row["method"]].append(row)
    return groups


# Two-sided 95 % quantiles of Student's t for 2, 3, ... degrees of freedom; of two runs an interval says nothing.
_T = (4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)


def _line(task: str, method: str, rows: list[dict[str, str]]) -> str:
    return f"| {task} ({rows[0]['total']} test images) | {METHODS[method].title} | {_accuracy(rows)} | {_costs(rows)} |"


def _accuracy(rows: list[dict[str, str]]) -> str:
    shares = [int(row["correct"]) / int(row["total"]) for row in rows]
    n, mean = len(shares), statistics.mean(shares)
    if 3 <= n <= len(_T) + 2:
        return f"{100 * mean:.1f} ± {100 * _T[n - 3] * statistics.stdev(shares) / n**0.5:.1f} ({n} seeds)"
    return f"{' and '.join(f'{100 * share:.1f}' for share in shares)} ({n} seed{'s' if n > 1 else ''})"


def _costs(rows: list[dict[str, str]]) -> str:
    seconds = statistics.median(float(row["seconds"]) for row in rows)
    return f"{int(rows[0]['trained']):,} | {int(rows[0]['bytes']) / 1000:,.0f} kB | {seconds:.0f}"


if __name__ == "__main__":
    main()
