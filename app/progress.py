"""How far a job is: one line and a bar, the curves so far, and the results that are there."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from app.components import COLOURS, figure, plain
from app.estimate import in_words
from app.jobs import Job
from vpt_core.execute import Phase
from vpt_core.runs import Run
from vpt_core.standing import Standing, but_seed, labels
from vpt_core.train import Step

HEIGHT = 340  # pixels
DASHES = ("solid", "dash", "dot")  # more methods than colours


def state_of(job: Job, ahead: int, wait: float = 0.0) -> dict[str, Any]:
    """The value of `progress_bar` for a job with `ahead` jobs before it, which may take `wait` seconds."""
    if job.state == "waiting":
        others = "1 other tuning is" if ahead == 1 else f"{ahead} other tunings are"
        return {
            "text": f"In line: {others} before yours, for {in_words(wait)}. Look at the recorded run in Start meanwhile.",
            "done": 0,
            "total": 0,
            "tone": "",
        }
    if not job.active:
        text = {"done": "Done. The test images were looked at once, at the end."}.get(job.state, job.message)
        return {"text": text, "done": None, "total": 0, "tone": "" if job.state == "done" else "warn"}
    spec = job.runs[job.at].spec
    seed = f", seed {spec.seed}" if len({run.spec.seed for run in job.runs}) > 1 else ""
    title = labels([run.spec for run in job.runs])[job.at] + seed
    where = f"{title} ({job.at + 1} of {len(job.runs)})" if len(job.runs) > 1 else title
    return {"text": f"{where}: {_doing(job)}", **_share(job), "tone": ""}


def _doing(job: Job) -> str:
    now = job.now
    stopping = job.stopping.is_set()
    if isinstance(now, Phase):
        text = f"{now.text[0].lower()}{now.text[1:]}" + (f", {now.done} of {now.total}" if now.total else " ...")
        return f"stopping: {text}" if stopping else text  # what was learned is tested yet
    if stopping:
        return "stopping after this batch, the best epoch is kept ..."
    if isinstance(now, Step):
        left = now.seconds / now.step * (now.steps - now.step)
        epochs = job.runs[job.at].spec.epochs
        return f"epoch {now.epoch} of {epochs}, step {now.step} of {now.steps}, {left:.0f} s left"
    return "getting ready ..."


def _share(job: Job) -> dict[str, int]:
    now = job.now
    if isinstance(now, Step):
        return {"done": now.step, "total": now.steps}
    return {"done": now.done, "total": now.total} if isinstance(now, Phase) else {"done": 0, "total": 0}


def curves_of(job: Job) -> dict[str, Any] | None:
    """Validation accuracy and training loss of the job's runs, None before a first epoch has ended."""
    return curves(job.runs, job.id)


def curves(runs: list[Run] | tuple[Run, ...], revision: str) -> dict[str, Any] | None:
    """Learning curves as the value of a `plot`, the seeds of a method in one look; `revision` changes when another set of runs
    is shown.
    """
    histories = [run.history for run in runs]
    names = labels([run.spec for run in runs])
    methods = list(dict.fromkeys(names))
    if not any(histories):
        return None
    fig = make_subplots(1, 2, subplot_titles=("Validation accuracy", "Training loss"), horizontal_spacing=0.12)
    shown = set()
    for run, name, history in zip(runs, names, histories, strict=True):
        share = [e.epoch / e.epochs for e in history]
        k, label = methods.index(name), plain(name)
        several, first = names.count(name) > 1, name not in shown
        shown.add(name)
        look: dict[str, Any] = {
            "name": label,
            "legendgroup": str(k),
            "line": {"color": COLOURS[k % len(COLOURS)], "dash": DASHES[k // len(COLOURS) % len(DASHES)],
                     "width": 1.2 if several else 2},
            "mode": "lines" if several or len(history) > 30 else "lines+markers",
            "opacity": 0.7 if several else 1,
        }
        seed = f", seed {run.spec.seed}" if several else ""
        said = [f"{label}{seed}<br>epoch {e.epoch} of {e.epochs}, {e.seconds:.1f} s" for e in history]
        for column, values in ((1, [e.val_accuracy for e in history]), (2, [e.loss for e in history])):
            fig.add_scatter(x=share, y=values, hovertext=said, hoverinfo="text+y", showlegend=column == 1 and first,
                            row=1, col=column, **look)
    fig.update_xaxes(tickformat=".0%", range=[0, 1.02], title="of its training")
    fig.update_yaxes(tickformat=".0%", range=[0, 1.02], col=1)
    fig.update_yaxes(rangemode="tozero", col=2)
    fig.update_layout(
        legend={"orientation": "h", "y": 1.12, "yanchor": "bottom"},
        margin={"l": 44, "r": 12, "t": 72, "b": 40},
        height=HEIGHT + 16 * max(0, len(methods) - 4),  # the legend of many methods takes several lines
        uirevision=revision,
    )
    return figure(go.Figure(fig))


def cards_of(job: Job) -> list[dict[str, str]] | None:
    """A card for each method that has a test result."""
    done: dict[str, list[Run]] = {}
    for run in job.runs:
        if run.finished:
            done.setdefault(but_seed(run.spec), []).append(run)
    names = labels([runs[0].spec for runs in done.values()])
    standings = [Standing(name, tuple(runs)) for name, runs in zip(names, done.values(), strict=True)]
    return [card_of(s.runs[0]) if len(s.runs) == 1 else _card_of_seeds(s) for s in standings] or None


def card_of(run: Run) -> dict[str, str]:
    """The test result of a run: accuracy, k of n with its interval, what was learned and what it took."""
    status, result = run.status, run.test
    low, high = result.interval
    return {
        "title": labels([run.spec])[0],
        "big": f"{result.accuracy:.0%}",
        "small": f"{result.correct} of {result.total} test images, 95 % interval {low:.0%} to {high:.0%}",
        "note": f"{status['trained']:,} learned numbers, {status['file_bytes'] / 1000:,.0f} kB, "
        f"{status['seconds']['total']:.0f} s"
        + (f". {status['reason']}" if status["reason"] else ""),
        "tone": _tone(run.spec.method),
    }


def _card_of_seeds(standing: Standing) -> dict[str, str]:
    low, high = standing.interval
    shares = ", ".join(f"{100 * s.accuracy:.0f}" for s in standing.scores)
    return {
        "title": standing.label,
        "big": f"{standing.score.accuracy:.0%}",
        "small": f"mean of {len(standing.runs)} seeds ({shares} %), 95 % interval {low:.0%} to {high:.0%}",
        "note": f"{standing.trained:,} learned numbers, {standing.file_bytes / 1000:,.0f} kB, {standing.seconds:.0f} s a seed",
        "tone": _tone(standing.method),
    }


def _tone(method: str) -> str:
    return "accent" if method.startswith("vpt") else ""
