"""The same question to several methods under several seeds: what to run, and what has been run already."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    for run in list_runs(root):
        if run.spec.seed == spec.seed and run.spec.method == spec.method and but_seed(run.spec) == but_seed(spec):
            status = run.status
            if run.finished and status["state"] == "done" and status["task_fingerprint"] == task.fingerprint:
                return run
    return None


def carry_out(wanted: Sequence[Spec], root: Path, stop: Callable[[], bool], tell: Callable[[str], None]) -> Series:
    """Run in turn what `wanted` asks, of one task, where `root` holds no such run yet, and `tell` a line each.

    `stop` ends the run that is going on and leaves out the rest; a run that fails is told, and the others go on.
    Raises `UserError` when the task cannot be read.
    """
    task = load_task(wanted[0].task)
    done, failed = [], 0
    for name, spec in zip(labels(wanted), wanted, strict=True):
        if stop():
            break
        known = done_before(spec, task, root)
        try:
            run = known or _executed(spec, root, stop)
        except UserError as error:
            failed += not stop()
            tell(f"{name}, seed {spec.seed}: {error}")
            continue
        status = run.status
        said = status["reason"] or ("tuned before" if known else f"{tuning_seconds(run):.1f} s")
        tell(f"{name}, seed {spec.seed}: {run.test}, {said}. {run.folder}")
        done += [run] * (status["state"] == "done")
    return Series(done, failed)


def _executed(spec: Spec, root: Path, stop: Callable[[], bool]) -> Run:
    run = new_run(spec, root)
    for _ in execute(run, stop):
        pass
    return run
