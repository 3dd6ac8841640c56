"""The commands of `python -m vpt_core`. Each imports what it needs, so that `check` starts without torch."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from vpt_core.errors import UserError
from vpt_core.flags import given, table
from vpt_core.spec import Spec

if TYPE_CHECKING:
    from vpt_core.ledger import Entry
    from vpt_core.runs import Run

COMPARED = ("linear", "vpt-deep")


def list_(args: argparse.Namespace) -> int:
    print("\n".join(table(args.what)))
    return 0


def check(args: argparse.Namespace) -> int:
    from vpt_core.tasks import LIMITS, PAGE_LIMITS, import_report, load_set

    limits = PAGE_LIMITS if args.page else LIMITS
    try:
        from_hub = args.source.startswith("hub:")
        report = load_set(args.source, limits).report if from_hub else import_report(Path(args.source), limits)
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
    from vpt_core.runs import new_run

    asked, options = given(args)
    method = table("methods")[asked.get("method", Spec.method)]
    return _execute(new_run(Spec(**method.recipe | asked, options=options), Path(args.runs)))


def resume(args: argparse.Namespace) -> int:
    from vpt_core.runs import check_unfinished

    run = _run_in(args.folder)
    check_unfinished(run)
    return _execute(run)


def _execute(run: Run) -> int:
    from vpt_core.execute import execute

    broken = f"Broken off. To go on with it: python -m vpt_core resume {run.folder}"
    with _stop_on_ctrl_c("Stopping after this batch; the best epoch is kept.", sys.stdout, broken) as stopped:
        _tell(execute(run, lambda: bool(stopped)))
    status = run.status
    if status["reason"]:
        print(status["reason"])
    print(f"Test: {run.test}. Learned {status['trained']:,} numbers, {status['file_bytes'] / 1000:.0f} kB.")
    print(run.folder)
    return 0


@contextmanager
def _stop_on_ctrl_c(text: str, out: TextIO, broken: str) -> Iterator[list[int]]:
    """A list that the first Ctrl-C fills, saying `text`; the second one breaks off, saying `broken`."""
    stopped: list[int] = []

    def stop_once(number: int, _: Any) -> None:
        if stopped:
            raise KeyboardInterrupt(broken)
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
    if args.folders and (asked or options or args.methods or args.seeds or args.anew):
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
    kept = "the same command goes on from there."
    with _stop_on_ctrl_c(f"Stopping after this batch; {kept}", out, f"Broken off; {kept}") as stopped:
        tell = partial(print, file=out, flush=True)
        series = carry_out(wanted, Path(args.runs), lambda: bool(stopped), tell, args.anew)
    return series.runs, series.failed


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


def unpack(args: argparse.Namespace) -> int:
    from vpt_core.run_zip import unpack_run

    print(unpack_run(Path(args.zip), Path(args.runs)).folder)
    return 0


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

    classifier = load_prompt(_prompt_file(args.run_folder))
    for image, row in zip(args.images, classifier.predict(args.images), strict=True):
        print(f"{image}: {_best(classifier.classes, row)}")
    return 0


def answer(args: argparse.Namespace) -> int:
    from vpt_core.many import load_prompts

    many = load_prompts([_prompt_file(folder) for folder in args.run_folders])
    for name, row in many.answer(args.image).items():
        print(f"{name} ({many.model(name).method.title}): {_best(many.classifier(name).classes, row)}")
    return 0


def _prompt_file(run_folder: str) -> Path:
    path = Path(run_folder)
    return path / "tuned.safetensors" if path.is_dir() else path


def _best(classes: Sequence[str], shares: Iterable[float]) -> str:
    ranked = sorted(zip(classes, shares, strict=True), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{name} {share:.1%}" for name, share in ranked)


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


def report(args: argparse.Namespace) -> int:
    from vpt_core.report import write_report

    print(write_report(_run_in(args.folder), args.file))
    return 0


def ledger(args: argparse.Namespace) -> int:
    from vpt_core.ledger import ROWS, VIT_B16, paper_ledger
    from vpt_core.ledger import table as printed

    if args.runs:
        ledgers, notes = _ledgers_of(args.runs), []
    else:
        ledgers = {f"24 tasks on {VIT_B16.title}": paper_ledger()}
        notes = ["in the paper", *(f"{row.printed:.2f}" if row.printed else "" for row in ROWS)]
    if args.json:
        _print_json({name: [asdict(line) for line in lines] for name, lines in ledgers.items()})
        return 0
    print("\n\n".join(printed(lines, name, notes) for name, lines in ledgers.items()))
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
