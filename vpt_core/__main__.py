"""The command line: `python -m vpt_core`. Each command imports what it needs, so that `check` starts without torch."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vpt_core import __version__
from vpt_core.errors import UserError
from vpt_core.options import Option, flag, options_of
from vpt_core.spec import Spec

if TYPE_CHECKING:
    from vpt_core.ledger import Entry
    from vpt_core.runs import Run

# Before torch is loaded: threads that wait for each other sleep instead of spinning (see app.py).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

TABLES = ("tasks", "methods", "backbones")


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit code is 0, or 2 when what was asked cannot be done."""
    arguments = sys.argv[1:] if arguments is None else arguments
    args = _parser(arguments[:1] == ["tune"]).parse_args(arguments)
    try:
        return args.run(args)
    except UserError as error:
        print(f"vpt_core: {error}", file=sys.stderr)
        return 2


def list_(args: argparse.Namespace) -> int:
    print("\n".join(_table(args.what)))
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

    given = {name: value for name, value in vars(args).items() if value is not None}
    asked = {name: given[name] for name in options_of(Spec) if name in given}
    options = {name: given[name] for name in _method_options() if name in given}
    method = _table("methods")[asked.get("method", Spec.method)]
    run = new_run(Spec(**method.recipe | asked, options=options), Path(args.runs))
    stopped: list[int] = []

    def stop_once(number: int, _: Any) -> None:
        if stopped:
            raise KeyboardInterrupt
        stopped.append(number)
        print("Stopping after this batch; the best epoch is kept.", flush=True)

    before = signal.signal(signal.SIGINT, stop_once)
    try:
        _tell(execute(run, lambda: bool(stopped)))
    finally:
        signal.signal(signal.SIGINT, before)
    status = run.status
    if status["reason"]:
        print(status["reason"])
    print(f"Test: {run.test}. Learned {status['trained']:,} numbers, {status['file_bytes'] / 1000:.0f} kB.")
    print(run.folder)
    return 0


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


def push(args: argparse.Namespace) -> int:
    from vpt_core.hub import push_prompt

    print(push_prompt(Path(args.run_folder), args.repository, private=args.private))
    return 0


def pull(args: argparse.Namespace) -> int:
    from vpt_core.hub import pull_prompt

    target = Path(args.to) if args.to else None
    if target and target.exists():
        raise UserError(f"{args.to!r} is there already. Remove it, or name another file.")
    path = pull_prompt(args.repository, args.revision)
    try:
        print(shutil.copyfile(path, target) if target else path)
    except OSError as error:
        raise UserError(f"{args.to!r} cannot be written ({error.strerror}). The file is at {path}.") from None
    return 0


def ledger(args: argparse.Namespace) -> int:
    from vpt_core.ledger import ROWS, VIT_B16, paper_ledger, table

    if args.runs:
        ledgers, notes = _ledgers_of(args.runs), []
    else:
        ledgers = {f"24 tasks on {VIT_B16.title}": paper_ledger()}
        notes = ["in the paper", *(f"{row.printed:.2f}" if row.printed else "" for row in ROWS)]
    if args.json:
        _print_json({name: [asdict(line) for line in lines] for name, lines in ledgers.items()})
        return 0
    print("\n\n".join(table(lines, name, notes) for name, lines in ledgers.items()))
    return 0


def _ledgers_of(folders: list[str]) -> dict[str, list[Entry]]:
    """For each backbone the ledger of its runs."""
    from vpt_core.ledger import ledger

    runs: dict[str, dict[str, Run]] = {}
    for folder in folders:
        run = _run_in(folder)
        if not run.finished:
            raise UserError(f"{folder!r} is {run.status['state']} and has nothing to count. Name finished runs.")
        runs.setdefault(run.spec.backbone, {})[str(run.folder)] = run
    return {backbone: ledger({name: run.cost for name, run in its.items()}, next(iter(its.values())).backbone_bytes)
            for backbone, its in runs.items()}  # fmt: skip


def _run_in(folder: str) -> Run:
    """The run whose folder was named. Raises `UserError` when it is none."""
    from vpt_core.runs import Run

    if not (Path(folder) / "spec.json").is_file():
        raise UserError(f"{folder!r} is not the folder of a run: it has no spec.json.")
    return Run(Path(folder))


def _print_json(data: dict[str, Any]) -> None:
    print(json.dumps(data, ensure_ascii=False, indent=1))


def _table(what: str) -> dict[str, Any]:
    import vpt_core

    return getattr(vpt_core, what.upper())


def _method_options() -> dict[str, tuple[Option, Any]]:
    """Options of all methods by name. Where methods share a name, the last one's words stand for all."""
    return {name: pair for method in _table("methods").values() for name, pair in options_of(method.Options).items()}


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
    tuning.add_argument("--runs", default="runs", metavar="FOLDER", help="where run folders are kept (default: runs)")
    if with_methods:  # the methods' flags need the methods, and these need torch
        methods = _table("methods").values()
        _add_options(tuning, options_of(Spec), {m.name: m.recipe for m in methods})
        own = {m.name: {name: default for name, (_, default) in options_of(m.Options).items()} for m in methods}
        _add_options(tuning, _method_options(), own)
    showing = _add_command(commands, "show", show, "what was asked of a run and what came out")
    showing.add_argument("folder", metavar="RUN")
    showing.add_argument("--json", action="store_true")
    counting = _add_command(
        commands, "ledger", ledger, "what tasks cost on one backbone: the paper's 24, or the tasks of given runs"
    )
    counting.add_argument("runs", metavar="RUN", nargs="*", help="folders of finished runs (default: the paper's tasks)")
    counting.add_argument("--json", action="store_true")
    predicting = _add_command(commands, "predict", predict, "classify images with a run or a prompt file")
    predicting.add_argument("run_folder", metavar="RUN", help="a run's folder or a prompt file")
    predicting.add_argument("images", metavar="IMAGE", nargs="+")
    _add_hub_commands(commands)
    return parser


def _add_hub_commands(commands: Any) -> None:
    pushing = _add_command(commands, "push", push, "put a prompt file on the Hugging Face hub; prints its address")
    pushing.add_argument("run_folder", metavar="RUN", help="a run's folder or a prompt file")
    pushing.add_argument("repository", metavar="NAME/REPO", help="made when missing; the token is HF_TOKEN or the hub's login")
    pushing.add_argument("--private", action="store_true", help="make a private repository")
    pulling = _add_command(commands, "pull", pull, "fetch a prompt file from the Hugging Face hub; prints its path")
    pulling.add_argument("repository", metavar="NAME/REPO")
    pulling.add_argument("--revision", help="a branch, tag or commit (default: the main branch)")
    pulling.add_argument("--to", metavar="FILE", help="copy it here (default: it stays in the hub's cache)")


def _add_command(commands: Any, name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=help, description=help)
    parser.set_defaults(run=run)
    return parser


def _add_options(
    parser: argparse.ArgumentParser, options: dict[str, tuple[Option, Any]], by_method: dict[str, dict[str, Any]]
) -> None:
    """A flag for each option, whose help names the default and the methods that have another one (`by_method`)."""
    for name, (opt, default) in options.items():
        others = [f", {method}: {own[name]}" for method, own in by_method.items() if own.get(name, default) != default]
        text = f"{opt.help} (default: {default}{''.join(others)})"
        help = text.replace("%", "%%")
        if isinstance(default, bool):
            parser.add_argument(flag(name), action=argparse.BooleanOptionalAction, default=None, help=help)
        else:
            parser.add_argument(flag(name), type=type(default), metavar=name.upper(), help=help)


if __name__ == "__main__":
    sys.exit(main())
