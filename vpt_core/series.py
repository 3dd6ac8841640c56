"""The same question to several methods under several seeds: what to run, what has been run already, what to go on with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vpt_core.errors import UserError
from vpt_core.execute import execute
from vpt_core.methods import METHODS
from vpt_core.options import flag
from vpt_core.runs import Run, check_spec, list_runs, new_run
from vpt_core.spec import Spec
from vpt_core.standing import but_seed, labels, tuning_seconds
from vpt_core.tasks import Task, load_task


@dataclass(frozen=True)
class Series:
    """Runs that did all that was asked of them, and how many could not."""

    runs: list[Run]
    failed: int


def specs(methods: Sequence[str], seeds: Iterable[int], asked: Mapping[str, Any], options: Mapping[str, Any]) -> list[Spec]:
    """A spec for each seed and method, seeds outermost, so that a full comparison exists after the first one.

    Each method keeps its own recipe, but what is `asked` (fields of `Spec`) holds for all. An option goes to those methods
    that have it. Raises `UserError` for what cannot be, such as an option that none of them has.
    """
    for name in options:
        if not any(name in METHODS[method].Options.__dataclass_fields__ for method in methods):
            raise UserError(f"No method of {', '.join(methods)} has {flag(name)}. Leave it out or add one that has it.")
    found = []
    for seed in seeds:
        for method in dict.fromkeys(methods):
            row = METHODS[method]
            own = {name: value for name, value in options.items() if name in row.Options.__dataclass_fields__}
            found.append(Spec(**{**row.recipe, **asked, "method": method, "options": own, "seed": seed}))
            check_spec(found[-1])
    return found


def done_before(spec: Spec, task: Task, root: Path) -> Run | None:
    """The newest run under `root` that did all that `spec` asks of the images of `task`; None when there is none."""
    mine = (run for run in _asking(spec, root) if run.finished and _of(run, task))
    return next((run for run in mine if run.status["state"] == "done" and not run.status.get("loaded")), None)


def broken_before(spec: Spec, task: Task, root: Path) -> Run | None:
    """The newest run under `root` of what `spec` asks that was broken off; a checkpoint has to be of the images of `task`."""
    mine = (run for run in _asking(spec, root) if run.unfinished)
    return next((run for run in mine if _of(run, task) or not run.checkpoint.exists()), None)


def _asking(spec: Spec, root: Path) -> Iterator[Run]:
    for run in list_runs(root):
        if run.spec.seed == spec.seed and run.spec.method == spec.method and but_seed(run.spec) == but_seed(spec):
            yield run


def _of(run: Run, task: Task) -> bool:
    return run.status.get("task_fingerprint") == task.fingerprint


def carry_out(
    wanted: Sequence[Spec], root: Path, stop: Callable[[], bool], tell: Callable[[str], None], anew: bool = False
) -> Series:
    """Do in turn what `wanted` asks, of one task, and `tell` a line each. Unless it is to be done `anew`, a run under `root`
    that did it stands in, and one that was broken off is gone on with: the outcome is the same.

    `stop` breaks off the run that is going on and leaves out the rest; a run that fails is told, and the others go on.
    Raises `UserError` when the task cannot be read.
    """
    task = load_task(wanted[0].task)
    done, failed = [], 0
    for name, spec in zip(labels(wanted), wanted, strict=True):
        if stop():
            break
        known = None if anew else done_before(spec, task, root)
        run = known or (None if anew else broken_before(spec, task, root)) or new_run(spec, root)
        try:
            ended = bool(known) or _executed(run, stop)
        except UserError as error:
            failed += 1
            tell(f"{name}, seed {spec.seed}: {error} {run.folder}")
            continue
        tell(f"{name}, seed {spec.seed}: {_said(run, known is not None) if ended else 'broken off'}. {run.folder}")
        done += [run] * (ended and run.status["state"] == "done")
    return Series(done, failed)


def _executed(run: Run, stop: Callable[[], bool]) -> bool:
    """Whether `run` came to its end; `stop` breaks it off within a batch, to be gone on with."""
    with closing(execute(run)) as work:
        return not any(stop() for _ in work)


def _said(run: Run, before: bool) -> str:
    """How a run that came to its end did."""
    status = run.status
    told = [str(run.test), status["reason"].rstrip(".") or ("tuned before" if before else f"{tuning_seconds(run):.1f} s")]
    if not before and "resumed_after" in status:
        told.append(f"gone on with after epoch {status['resumed_after']}")
    return ", ".join(told)
