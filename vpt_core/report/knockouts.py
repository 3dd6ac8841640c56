"""The report's section on knock-outs, of those that the run's folder holds."""

from __future__ import annotations

from vpt_core.analysis import SCOPES, attention_and_effect, load_knockout
from vpt_core.report.charts import points
from vpt_core.report.document import Element, el, note, section
from vpt_core.runs import Run


def knockouts(run: Run) -> list[Element]:
    """A scatter and a sentence for each scope that was computed before; nothing where none was."""
    drawn = []
    for scope, words in SCOPES.items():
        if run.knockout_file(scope).exists():
            found = load_knockout(run.knockout_file(scope))
            chart = points(100 * found.attention.mean(axis=1), found.log_probability.mean(axis=1),
                           f"knock-out of {words}: attention against effect", "attention to what is removed, %")  # fmt: skip
            told = f"Taken away: {words}. {attention_and_effect(found).sentence}"
            drawn.append(el("figure", chart, el("figcaption", told)))
    if not drawn:
        return []
    return [section("Prompts taken away", el("div", *drawn, class_="row"), note(
        "Each point is one exact knock-out: to the right, more attention went to what was taken away; up and down, the change "
        "of the true class's log-probability, mean of the images. Below the line the prompt had helped. One prompt may do "
        "little because others do the same."))]  # fmt: skip
