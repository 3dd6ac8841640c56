"""The command line: `python -m vpt_core`. Each command imports what it needs, so that `check` starts without torch."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from vpt_core import __version__
from vpt_core.errors import UserError
from vpt_core.flags import add_flags, given, table
from vpt_core.spec import Spec

# Before torch is loaded: threads that wait for each other sleep instead of spinning (see app.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TABLES = ("tasks", "methods", "backbones")
COMPARED = ["linear", "vpt-deep"]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 2 when what was asked cannot be done."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser(arguments[:1] in (["tune"], ["compare"])).parse_args(arguments)
    try:
        return args.run(args)
    except UserError as error:
        print(f"vpt_core: {error}", file=sys.stderr)
        return 2


def list_(args: argparse.Namespace) -> int:
    print("\n".join(table(args.what)))
    return 0


def check(args: argparse.Namespace) -> int:
    from vpt_core.tasks import import_task

    try:
        report = import_task(Path(args.source)).report
    except UserError as refusal:
        if not args.json:
            raise
        _print_json({"accepted": False, "refusal": str(refusal)})
        return 2
    if args.json:
        splits: Counter[str] = Counter()
        for counts in report.classes.values():
            splits.update(counts)
        given = {name: number for name, number in splits.items() if name}
        _print_json({"accepted": True, "images": report.images, "splits": given, **report.to_json()})
    else:
        print(report.text())
    return 0


def tune(args: argparse.Namespace) -> int:
    from vpt_core.execute import execute
    from vpt_core.runs import new_run

    asked, options = given(args)
    method = table("methods")[asked.get("method", Spec.method)]
    run = new_run(Spec(**method.recipe | asked, options=options), Path(args.runs))
    with _stop_on_ctrl_c("Stopping after this batch; the best epoch is kept.", sys.stdout) as stopped:
        _tell(execute(run, lambda: bool(stopped)))
    status = run.status
    if status["reason"]:
        print(status["reason"])
    print(f"Test: {run.test}. Learned {status['trained']:,} numbers, {status['file_bytes'] / 1000:.0f} kB.")
    print(run.folder)
    return 0


@contextmanager
def _stop_on_ctrl_c(text: str, out: TextIO) -> Iterator[list[int]]:
    """A list that the first Ctrl-C fills, saying `text`; the second one breaks off."""
    stopped: list[int] = []

    def stop_once(number: int, _: Any) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)
        print(text, file=out, flush=True)

    before = signal.signal(signal.SIGINT, stop_once)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


def compare(args: argparse.Namespace) -> int:
    from vpt_core.comparison import compare as side_by_side

    asked, options = given(args)
    if args.folders and (asked or options or args.methods or args.seeds):
        raise UserError("Name folders of runs, or say with flags what to run; not both.")
    runs, failed = ([_run_in(folder) for folder in args.folders], 0) if args.folders else _series(args, asked, options)
    result = side_by_side(runs)
    if args.json:
        _print_json(result.to_json())
    else:
        print(result.text())
    return 2 if failed else 0


def _series(args: argparse.Namespace, asked: dict[str, Any], options: dict[str, Any]) -> tuple[list[Any], int]:
    """The runs that `compare` asks for, done now or before, and how many failed."""
    from vpt_core.series import carry_out, specs

    first, many = asked.get("seed", Spec.seed), 1 if args.seeds is None else args.seeds
    if many < 1:
        raise UserError(f"Seeds is {many}; it has to be at least 1.")
    wanted = specs(args.methods or COMPARED, range(first, first + many), asked, options)
    out = sys.stderr if args.json else sys.stdout
    with _stop_on_ctrl_c("Stopping after this batch; what finished is kept.", out) as stopped:
        series = carry_out(wanted, Path(args.runs), lambda: bool(stopped), partial(print, file=out, flush=True))
    return series.runs, series.failed


def _run_in(folder: str) -> Any:
    from vpt_core.runs import Run

    if not (Path(folder) / "spec.json").is_file():
        raise UserError(f"{folder!r} is not the folder of a run: it has no spec.json.")
    return Run(Path(folder))


def _tell(records: Iterable[Any]) -> None:
    from vpt_core.train import Epoch, Step

    said = None
    for record in records:
        if isinstance(record, Epoch):
            share = record.val_accuracy
            val = "" if share is None else f"  val {record.val_correct} of {record.val_total} ({share:.1%})"
            end = f"{record.seconds:.1f} s{'  *' if record.best else ''}"
            print(f"epoch {record.epoch}/{record.epochs}  loss {record.loss:.4f}{val}  {end}", flush=True)
        elif not isinstance(record, Step) and record.text != said:
            said = record.text
            print(f"{said} ...", flush=True)


def show(args: argparse.Namespace) -> int:
    run = _run_in(args.folder)
    if args.json:
        _print_json({"spec": run.spec.to_json(), "status": run.status})
        return 0
    print(f"{run.title} on {run.spec.task}, {run.status['state']}. {run.status['reason']}".strip())
    for name, value in {**run.spec.to_json(), **run.spec.options}.items():
        print(f"  {name:13} {value}")
    if run.finished:
        print(f"Test: {run.test}")
    return 0


def predict(args: argparse.Namespace) -> int:
    from vpt_core.prompt_file import load_prompt

    path = Path(args.run_folder)
    classifier = load_prompt(path / "tuned.safetensors" if path.is_dir() else path)
    for image, row in zip(args.images, classifier.predict(args.images), strict=True):
        ranked = sorted(zip(classifier.classes, row, strict=True), key=lambda pair: -pair[1])[:3]
        print(f"{image}: " + ", ".join(f"{name} {share:.1%}" for name, share in ranked))
    return 0


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=1))


def _parser(with_methods: bool) -> argparse.ArgumentParser:
    about = "Visual prompt tuning of frozen vision transformers."
    parser = argparse.ArgumentParser(prog="python -m vpt_core", description=about)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_command(commands, "list", list_, "names of what can be chosen, one a line").add_argument("what", choices=TABLES)
    checking = _add_command(commands, "check", check, "read a data set and report on it; exit code 2 when it is refused")
    checking.add_argument("source", metavar="FILE_OR_FOLDER")
    checking.add_argument("--json", action="store_true", help="the report as JSON")
    tuning = _add_command(
        commands, "tune", tune, "tune a method on a task; prints the run's folder last; Ctrl-C keeps the best"
    )
    comparing = _add_command(
        commands, "compare", compare, "tune several methods on one task, or name runs: which is best, is prompting worth it"
    )
    comparing.add_argument("folders", metavar="RUN", nargs="*", help="finished runs, instead of all flags but --json")
    comparing.add_argument("--methods", nargs="+", metavar="METHOD", help=f"(default: {' '.join(COMPARED)})")
    comparing.add_argument("--seeds", type=int, metavar="SEEDS", help="how many, from --seed on (default: 1)")
    comparing.add_argument("--json", action="store_true", help="the comparison as JSON; lines on the runs go to stderr")
    for command, left_out in ((tuning, ()), (comparing, ("method",))):
        command.add_argument("--runs", default="runs", metavar="FOLDER", help="where run folders are kept (default: runs)")
        if with_methods:
            add_flags(command, left_out)
    showing = _add_command(commands, "show", show, "what was asked of a run and what came out")
    showing.add_argument("folder", metavar="RUN")
    showing.add_argument("--json", action="store_true")
    predicting = _add_command(commands, "predict", predict, "classify images with a run or a prompt file")
    predicting.add_argument("run_folder", metavar="RUN", help="a run's folder or a prompt file")
    predicting.add_argument("images", metavar="IMAGE", nargs="+")
    return parser


def _add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
