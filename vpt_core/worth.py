"""Is prompting worth it here? One sentence that follows from the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from vpt_core.paired import p_text
from vpt_core.standing import Standing

SIGNIFICANT = 0.05

OPEN = "whether prompting is worth it here is open"


def is_prompted(standing: Standing) -> bool:
    """Whether the method learns prompts."""
    return standing.method.startswith("vpt-")


def worth(standings: Sequence[Standing], p_values: Sequence[float], best: int, cheapest: int) -> str:
    """The sentence on methods that were tested on the same images, at least one.

    `p_values` are those of the difference from the best. `cheapest` learns the fewest numbers of those not significantly
    worse than the best. Prompting is worth it where that is a method with prompts.
    """
    top = standings[best]
    if not top.score.total:
        return "There are no test images, so no method can be judged."
    if len(standings) == 1:
        return f"{_on(top)}{top.label} gets {_accuracy(top)} right; it stands alone, so {OPEN}."
    if cheapest == best:
        facts = f"{_on(top)}{top.label} is the best ({top.words}) and {_below(standings, p_values, best)}"
    else:
        facts = _rival(top, standings[cheapest], p_values[cheapest])
    return f"{facts}{_answer(standings, p_values, best, cheapest)}."


def _on(top: Standing) -> str:
    """What the numbers are over, where they do not say it themselves."""
    seeds = len(top.seeds)
    return "" if seeds == 1 else f"On {len(top.images)} test images, as the mean of {seeds} seeds, "


def _accuracy(top: Standing) -> str:
    return top.words if len(top.seeds) > 1 else f"{top.words} test images"


def _below(standings: Sequence[Standing], p_values: Sequence[float], best: int) -> str:
    """How what is cheaper than the best method does; all of it is significantly worse."""
    cheaper = [i for i, s in enumerate(standings) if s.trained < standings[best].trained]
    if not cheaper:
        return "learns the fewest numbers"
    worst = p_text(max(p_values[i] for i in cheaper))
    if len(cheaper) == 1:
        return f"{standings[cheaper[0]].label}, which learns fewer numbers, is worse ({worst})"
    return f"every method that learns fewer numbers is worse ({worst}{'' if '<' in worst else ' or less'})"


def _rival(top: Standing, rival: Standing, p: float) -> str:
    """That a cheaper method may be as good: it is not shown to be worse, which is not the same as equal."""
    times = top.trained / rival.trained
    fewer = f"{times:,.0f} times fewer numbers" if times >= 2 else "fewer numbers"
    return (
        f"{_on(top)}{top.label} is the best ({top.words}), but {rival.label} ({rival.words}) learns {fewer} and is not shown "
        f"to be worse ({p_text(p)}; with {len(top.images)} test images the difference may be chance)"
    )


def _answer(standings: Sequence[Standing], p_values: Sequence[float], best: int, cheapest: int) -> str:
    prompted = [i for i, s in enumerate(standings) if is_prompted(s)]
    if not prompted:
        return f"; no method with prompts was compared, so {OPEN}"
    if len(prompted) == len(standings):
        return f"; no method without prompts was compared, so {OPEN}"
    if cheapest in prompted:
        yardstick = any(not is_prompted(s) and s.trained < standings[cheapest].trained for s in standings)
        return ": prompting is worth it here" if yardstick else ": among these methods prompting is worth it here"
    if best in prompted:
        return ": prompting is not shown to be worth it here"
    i = max(prompted, key=lambda i: standings[i].score.correct)
    rival = standings[i]
    if p_values[i] < SIGNIFICANT and best == cheapest and rival.trained < standings[best].trained:  # said to be worse before
        return f"; with prompts the best is {rival.label} ({rival.words}), so prompting is not worth it here"
    if p_values[i] < SIGNIFICANT:
        return f"; {rival.label} ({rival.words}) is worse ({p_text(p_values[i])}), so prompting is not worth it here"
    if rival.score.correct > standings[cheapest].score.correct:
        return f"; {rival.label} ({rival.words}) learns more numbers than that: prompting is not shown to be worth it here"
    return f"; {rival.label} ({rival.words}) learns more numbers and is no better: prompting is not worth it here"
