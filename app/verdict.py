"""Sentences and rows that follow from the numbers of a result."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from app.results import Result, find_seed
from vpt_core.comparison import Comparison, pair
from vpt_core.errors import UserError
from vpt_core.metrics import softmax
from vpt_core.paired import p_text
from vpt_core.runs import Run
from vpt_core.standing import Standing
from vpt_core.standing import labels as labels_of
from vpt_core.worth import is_prompted

SECOND = "Tune a second method to compare; a linear probe takes seconds."

class Measured(Protocol):
    """Whatever has a 95 % interval."""

    @property
    def interval(self) -> tuple[float, float]: ...


def predicted(run: Run) -> np.ndarray:
    """Predicted classes (N,) of the test images."""
    return run.array("logits").argmax(axis=1)


def labels(result: Result) -> list[str]:
    """A name for each run, all different: the method, its options, what else tells equal ones apart, and the seed where the
    result is one of several seeds.
    """
    names = labels_of([run.spec for run in result.runs])
    if not result.says_seed:
        return names
    return [f"{name}, seed {run.spec.seed}" for name, run in zip(names, result.runs, strict=True)]


def run_of(key: str | None, name: str | None) -> Run | None:
    """The run called `name` of a result; None while nothing is chosen."""
    result = find_seed(key)
    return None if result is None or name is None else result.runs[number(result, name)]


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
    compared = result.comparison
    images, top = len(compared.standings[0].images), compared.standings[compared.best]
    if not images:
        return compared.sentence
    worth = f"One image is worth {100 / images:.1f} points."
    if len(compared.standings) == 1:
        said = f"{percent(top.score.accuracy)}, 95 % interval {interval(top)}. {worth} {SECOND}"
    else:
        said = f"{_image_by_image(compared)} {worth}"
    left_out = f" Left out, since not every method has that seed: {'; '.join(compared.left_out)}." * bool(compared.left_out)
    return f"{compared.sentence} {said}{left_out}"


def _image_by_image(compared: Comparison) -> str:
    """How often the best method wins over the one that the sentence holds against it, and how often it loses."""
    best, other = compared.best, compared.cheapest
    if best == other:
        other = _counterpart(compared)
    a, b = compared.standings[best], compared.standings[other]
    wins = pair(a, b)
    if len(compared.seeds) == 1:
        return (f"Image by image, {a.label} is right and {b.label} wrong {times(wins.more_a)}, the other way round "
                f"{times(wins.more_b)}.")
    return (f"Image by image, more seeds of {a.label} than of {b.label} are right {times(wins.more_a)}, the other way round "
            f"{times(wins.more_b)}.")


def _counterpart(compared: Comparison) -> int:
    """What to hold against the best method: the linear probe against prompts, the best prompts against others, else any."""
    standings, best = compared.standings, compared.best
    rivals = sorted((i for i in range(len(standings)) if i != best), key=lambda i: -standings[i].score.correct)
    if is_prompted(standings[best]):
        wanted = [i for i in rivals if standings[i].method == "linear"]
    else:
        wanted = [i for i in rivals if is_prompted(standings[i])]
    return (wanted or rivals)[0]


def times(count: int) -> str:
    """A count of occasions: "once", "9 times"."""
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")


def percent(share: float) -> str:
    """A share as "74 %", below one percent with the digits that it needs."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.0095 or share == 0 else f"{100 * share:.2g} %"


def interval(measured: Measured) -> str:
    """Its 95 % interval as "68 % to 80 %"."""
    low, high = measured.interval
    return f"{percent(low)} to {percent(high)}"


def size(count: int) -> str:
    """Bytes for people: "194 kB", in powers of 1000."""
    if count >= 1e9:
        return f"{count / 1e12:.1f} TB" if count >= 1e12 else f"{count / 1e9:.1f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def table(result: Result) -> dict[str, list[Any]]:
    """The value of a `gr.Dataframe`: a row a method. What a single seed has, or what several have, is a column of its own."""
    compared = result.comparison
    several = len(compared.seeds) > 1
    first = ("seeds, lowest to highest", "mean accuracy") if several else ("test images right", "accuracy")
    headers = ["method", first[0], f"{first[1]}, 95 % interval", "against the best", "trained parameters",
               "share of the backbone", "file", "seconds to tune"]
    rows = [_row(s, p, i == compared.best) for i, (s, p) in enumerate(zip(compared.standings, compared.p_values, strict=True))]
    if not several:
        headers.append("best epoch")
        for row, standing in zip(rows, compared.standings, strict=True):
            row.append(str(standing.runs[0].status["best_epoch"] or "none"))
    return {"headers": headers, "data": rows}


def _row(standing: Standing, p: float, best: bool) -> list[str]:
    score, shares = standing.score, [s.accuracy for s in standing.scores]
    first = standing.words if len(shares) == 1 else f"{len(shares)}, {percent(min(shares))} to {percent(max(shares))}"
    accuracy = f"{percent(score.accuracy)}, {interval(standing)}" if score.total else "none"
    return [
        standing.label, first, accuracy,
        "best" if best else p_text(p), f"{standing.trained:,}",
        percent(standing.trained / standing.runs[0].status["backbone_parameters"]), size(standing.file_bytes),
        f"{standing.seconds:.1f}",
    ]


def image_line(result: Result, image: int) -> str:
    """Which test image is chosen, its class, and what each run says of it."""
    run = result.runs[0]
    classes, names = run.classes, run.image_names
    said = []
    for name, one in zip(labels(result), result.runs, strict=True):
        shares = softmax(one.array("logits")[image])
        said.append(f"{name} says “{classes[shares.argmax()]}” ({percent(shares.max())})")
    return f"Image {image + 1} of {len(names)} ({names[image]}): true “{classes[run.labels[image]]}”; {', '.join(said)}."

