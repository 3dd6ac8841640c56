"""Finished runs of several methods side by side: what each reaches and costs, and whether prompting is worth it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.options import options_of
from vpt_core.paired import Paired, holm, p_text, sign_flip
from vpt_core.runs import Run
from vpt_core.spec import Spec
from vpt_core.standing import Standing, but_seed, labels
from vpt_core.worth import SIGNIFICANT, worth

_SAME = ("backbone", "image_size", "shots")


@dataclass(frozen=True)
class Comparison:
    """Methods over the same seeds, in the order of the table of methods.

    best        the most right answers; of equal ones that which learns the fewest numbers
    p_values    of each method's difference from the best by `sign_flip`, after Holm's correction; 1.0 for the best itself
    cheapest    learns the fewest numbers of those that are not significantly worse than the best at 5 %
    left_out    runs under seeds that the others do not have, as "VPT-deep, seed 3"

    best and cheapest are indices into `standings`. Not significantly worse is not the same as equal: with few test images
    little is significant. The best is picked by the same images that it is tested on, which flatters it a little.
    """

    standings: tuple[Standing, ...]
    best: int
    p_values: tuple[float, ...]
    cheapest: int
    left_out: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """One sentence that answers: is prompting worth it here?"""
        return worth(self.standings, self.p_values, self.best, self.cheapest)

    @property
    def seeds(self) -> list[int]:
        return self.standings[0].seeds

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values: the methods, which is best and which cheapest, and the sentence."""
        spec = self.standings[0].runs[0].spec
        methods = [{**s.to_json(), "p_value": p} for s, p in zip(self.standings, self.p_values, strict=True)]
        return {
            "task": spec.task, **{name: getattr(spec, name) for name in _SAME}, "seeds": self.seeds,
            "images": len(self.standings[0].images), "methods": methods, "best": self.standings[self.best].label,
            "cheapest": self.standings[self.cheapest].label, "left_out": list(self.left_out), "sentence": self.sentence,
        }  # fmt: skip

    def text(self) -> str:
        """A table, a line a method, and the sentence."""
        table = [("method", "accuracy", "95 % interval", "against the best", "numbers", "kB", "seconds"), *self._rows()]
        widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
        lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in table]
        left_out = [f"Left out, since not every method has that seed: {'; '.join(self.left_out)}."] if self.left_out else []
        return "\n".join([*lines, self.sentence, *left_out])

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for i, s in enumerate(self.standings):
            low, high = s.interval
            against = "best" if i == self.best else p_text(self.p_values[i])
            accuracy = f"{100 * s.score.accuracy:.1f} %" if s.score.total else "none"
            rows.append((s.label, accuracy, f"{100 * low:.1f} to {100 * high:.1f}", against, f"{s.trained:,}",
                         f"{s.file_bytes / 1000:,.0f}", f"{s.seconds:,.1f}"))  # fmt: skip
        return rows


def compare(runs: Sequence[Run]) -> Comparison:
    """Compare finished runs, grouped by all of their spec but the seed, over the seeds that most of the groups have.

    Raises `UserError` for no run, for one that has not finished, for two of one spec, and for runs that do not answer the
    same question: other images, backbone, image size or shots.
    """
    _check(runs)
    names = dict(zip((run.folder for run in runs), labels([run.spec for run in runs]), strict=True))
    groups: dict[str, dict[int, Run]] = defaultdict(dict)
    for run in sorted(runs, key=lambda run: list(METHODS).index(run.spec.method)):
        twin = groups[but_seed(run.spec)].setdefault(run.spec.seed, run)
        if twin is not run:
            raise UserError(f"{run.name} and {twin.name} are runs of one spec and seed; leave out one of them.")
    chosen, seeds = shared({key: set(group) for key, group in groups.items()})
    used = [tuple(groups[key][seed] for seed in seeds) for key in chosen]
    standings = tuple(Standing(names[mine[0].folder], mine) for mine in used)
    kept = {run.folder for mine in used for run in mine}
    left_out = tuple(f"{names[run.folder]}, seed {run.spec.seed}" for run in runs if run.folder not in kept)
    best = max(range(len(standings)), key=lambda i: (standings[i].score.correct, -standings[i].trained))
    others = [i for i in range(len(standings)) if i != best]
    corrected = holm([pair(standings[best], standings[i]).p_value for i in others])
    p_values = tuple(dict(zip(others, corrected, strict=True)).get(i, 1.0) for i in range(len(standings)))
    good = [i for i, p in enumerate(p_values) if p >= SIGNIFICANT]
    cheapest = min(good, key=lambda i: (standings[i].trained, i != best, -standings[i].score.correct))
    return Comparison(standings, best, p_values, cheapest, left_out)


def pair(a: Standing, b: Standing) -> Paired:
    """The paired test of two methods that have the same seeds; images are told apart by their names."""
    if {name: tested for name, (_, tested) in a.images.items()} != {name: tested for name, (_, tested) in b.images.items()}:
        raise UserError(f"{a.label} and {b.label} were not tested on the same images. Tune them again on the same data set.")
    counts = np.array([(good, b.images[name][0]) for name, (good, _) in a.images.items()], dtype=np.int64).reshape(-1, 2)
    return sign_flip(counts[:, 0], counts[:, 1])


def shared(seeds: dict[str, set[int]]) -> tuple[list[str], list[int]]:
    """The groups to compare and their common seeds, ascending, given each group's seeds: as many groups as share a seed, then
    as many seeds as these groups share. Comparing means over different seeds would compare other training images.
    """
    having = {seed: [key for key in seeds if seed in seeds[key]] for seed in sorted(set().union(*seeds.values()))}
    common = {seed: sorted(set.intersection(*(seeds[key] for key in having[seed]))) for seed in having}
    chosen = max(having, key=lambda seed: (len(having[seed]), len(common[seed]), -seed))
    return having[chosen], common[chosen]


def _check(runs: Sequence[Run]) -> None:
    if not runs:
        raise UserError("There is no finished run to compare.")
    for run in runs:
        if not run.finished:
            raise UserError(f"{run.name} has not finished ({run.status['state']}). Leave it out or tune it again.")
    first = runs[0]
    for run in runs[1:]:
        for name in _SAME:
            ours, theirs = getattr(first.spec, name), getattr(run.spec, name)
            if ours != theirs:
                _refuse(first, run, f"{options_of(Spec)[name][0].label} is {ours!r} in one and {theirs!r} in the other")
        if first.status["task_fingerprint"] != run.status["task_fingerprint"]:
            _refuse(first, run, f"the images of {first.spec.task!r} and {run.spec.task!r} are not the same")


def _refuse(first: Run, run: Run, why: str) -> None:
    raise UserError(f"{first.name} and {run.name} cannot be compared: {why}. Compare runs that differ in method and seed only.")
