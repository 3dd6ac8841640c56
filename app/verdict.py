"""Sentences and rows that follow from the numbers of a result."""

from __future__ import annotations

import numpy as np

from app.results import Result, run_label
from vpt_core.errors import UserError
from vpt_core.metrics import Score, softmax
from vpt_core.options import options_of
from vpt_core.paired import Paired, mcnemar
from vpt_core.runs import Run
from vpt_core.spec import Spec

SIGNIFICANT = 0.05
SECOND = "Tune a second method to compare; a linear probe takes seconds."
HEADERS = ["method", "test images right", "accuracy", "95 % interval", "trained parameters", "share of the backbone", "file",
           "seconds to tune", "best epoch"]
_RECIPE = ("epochs", "batch_size", "lr", "weight_decay", "warmup")  # what else may tell two runs of a result apart


def predicted(run: Run) -> np.ndarray:
    """Predicted classes (N,) of the test images."""
    return run.array("logits").argmax(axis=1)


def right(run: Run) -> np.ndarray:
    """Which test images are classified rightly, bool (N,)."""
    return predicted(run) == run.labels


def labels(result: Result) -> list[str]:
    """A name for each run, all different: the method, its options, and what else tells equal ones apart."""
    names = [run_label(run) for run in result.runs]
    for name in {n for n in names if names.count(n) > 1}:
        same = [i for i, n in enumerate(names) if n == name]
        differ = [f for f in _RECIPE if len({getattr(result.runs[i].spec, f) for i in same}) > 1]
        for i in same:
            said = [f"{options_of(Spec)[f][0].label} {getattr(result.runs[i].spec, f):g}" for f in differ]
            names[i] = f"{name}, {', '.join(said)}"
    return names


def number(result: Result, name: str) -> int:
    """Which run of the result has the folder `name`. Raises `UserError` when none has."""
    for i, run in enumerate(result.runs):
        if run.name == name:
            return i
    raise UserError("This run does not belong to the results on show any more. Choose one of the list.")


def best_two(result: Result) -> tuple[int, int]:
    """Which runs to compare first: the linear probe (else the first run) and the best of the others. Needs two runs."""
    base = next((i for i, run in enumerate(result.runs) if run.spec.method == "linear"), 0)
    others = [i for i in range(len(result.runs)) if i != base]
    return base, max(others, key=lambda i: result.runs[i].test.correct)


def verdict(result: Result) -> str:
    """What the test images say about the methods, and how far that can be trusted."""
    names, total = labels(result), result.runs[0].test.total
    if not total:
        return "This data set has no test images, so no method can be judged."
    worth = f"One image is worth {100 / total:.1f} points."
    if len(result.runs) == 1:
        test = result.runs[0].test
        return (f"{names[0]} gets {test.correct} of {total} right ({percent(test.accuracy)}, 95 % interval {interval(test)}). "
                f"{worth} {SECOND}")
    a, b = best_two(result)
    if result.runs[b].test.correct >= result.runs[a].test.correct:
        a, b = b, a
    first, second = result.runs[a], result.runs[b]
    pair = mcnemar(right(first), right(second))
    return (
        f"{names[a]} gets {first.test.correct} of {total} right, {names[b]} {second.test.correct} of {total}; on the same "
        f"images {names[a]} is right and {names[b]} wrong {times(pair.only_a)}, the other way round {times(pair.only_b)} "
        f"(exact McNemar {p_text(pair.p_value)}). {_meaning(pair, names[a], total)} {worth}"
    )


def _meaning(pair: Paired, winner: str, total: int) -> str:
    if pair.only_a == pair.only_b:
        return f"On these {total} test images neither is better."
    if pair.p_value < SIGNIFICANT:
        return f"That is more than chance explains: {winner} is better on images like these."
    return f"With {total} test images this difference may be chance."


def times(count: int) -> str:
    """A count of occasions: "once", "9 times"."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def p_text(p: float) -> str:
    """A p-value as papers print it."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def percent(share: float) -> str:
    """A share as "74 %", below one percent with the digits that it needs."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.0095 or share == 0 else f"{100 * share:.2g} %"


def interval(score: Score) -> str:
    """The 95 % interval as "68 % to 80 %"."""
    low, high = score.interval
    return f"{percent(low)} to {percent(high)}"


def size(count: int) -> str:
    """Bytes for people: "194 kB", in powers of 1000."""
    if count >= 1e9:
        return f"{count / 1e12:.1f} TB" if count >= 1e12 else f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def seconds(run: Run) -> float:
    """Seconds of tuning: computing the frozen layers of its images and training."""
    spent = run.status["seconds"]
    return spent["embed"] + spent["train"]


def rows(result: Result) -> list[list[str]]:
    """A row a run, under `HEADERS`."""
    table = []
    for name, run in zip(labels(result), result.runs, strict=True):
        status, test = run.status, run.test
        share = status["trained"] / status["backbone_parameters"]
        table.append([
            name, f"{test.correct} of {test.total}", percent(test.accuracy) if test.total else "none", interval(test),
            f"{status['trained']:,}", percent(share), size(status["file_bytes"]), f"{seconds(run):.1f}",
            str(status["best_epoch"] or "none"),
        ])
    return table


def image_line(result: Result, image: int) -> str:
    """Which test image is chosen, its class, and what each run says of it."""
    run = result.runs[0]
    classes, names = run.classes, run.image_names
    said = []
    for name, one in zip(labels(result), result.runs, strict=True):
        shares = softmax(one.array("logits")[image])
        said.append(f"{name} says “{classes[shares.argmax()]}” ({percent(shares.max())})")
    return f"Image {image + 1} of {len(names)} ({names[image]}): true “{classes[run.labels[image]]}”; {', '.join(said)}."

