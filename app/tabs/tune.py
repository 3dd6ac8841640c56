"""Tune: choose, start, watch, stop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr

from app import caps, estimate, progress, results, sources, visitors
from app.components import plot, progress_bar, stat_cards
from app.controls import control, typed
from app.events import LATEST, QUIET, when
from app.jobs import JOBS
from app.messages import shows_user_errors
from app.page import Page
from app.tabs import unfinished
from vpt_core.backbones import BACKBONES, availability, card
from vpt_core.errors import UserError
from vpt_core.execute import Phase
from vpt_core.methods import METHODS
from vpt_core.options import check, option, options_of
from vpt_core.runs import check_spec
from vpt_core.spec import Spec

PLAIN = ("epochs", "shots", "seed")  # options of Spec in plain sight, in this order; the advanced ones stand in the accordion
SPEC = options_of(Spec)
PRESET = {"shots": 16}
POLL = 2.0  # seconds; an answer takes the browser about 0.2, which a person's own computer would train with
NEAR = 1.0  # the same outside the epochs, when something to show is near
FIELD = 165  # pixels: two fields stand side by side


@dataclass(frozen=True)
class Repeats:
    """How often all is tuned again."""

    seeds: int = option(1, "Seeds", "how many, from that seed on: each method is tuned again under each", low=1, high=5)

    def __post_init__(self) -> None:
        check(self)


def build(page: Page, tab: gr.Tab) -> None:
    """Components and events of the tab."""
    with gr.Row():
        with gr.Column(scale=2, min_width=320):
            form = _form()
            estimated = gr.HTML("", elem_classes=["note"], elem_id="tune-estimate", html_template="<p>{{value}}</p>")
            with gr.Row():
                go = gr.Button("Tune", variant="primary", elem_classes=["primary-action"], elem_id="tune-go")
                stop = gr.Button("Stop, keep the best", elem_id="tune-stop", interactive=False)
        with gr.Column(scale=3, min_width=320):
            broken = unfinished.build(page, tab)
            status = progress_bar(empty="Nothing is being tuned. Choose what to tune, then press Tune.", elem_id="tune-status")
            curves = plot(
                label="Learning curves",
                empty="Curves appear here as soon as the first epoch has ended.",
                height=340,
                elem_id="tune-curves",
            )
            gr.Markdown(
                "Upper lines are better in the left picture, lower ones in the right. Methods have different numbers of "
                "epochs, so the axis shows how much of its training each has done. These are validation images; the test "
                "images are looked at once, at the end.",
                elem_classes=["note"],
            )
            cards = stat_cards(empty="Results appear here, the linear probe's first.", elem_id="tune-cards")
            compare = gr.Button(
                "Compare the results", variant="primary", visible=False, elem_classes=["primary-action"], elem_id="tune-compare"
            )
    timer = gr.Timer(POLL, active=False)
    inputs = [page.source, *form.values()]
    moved = gr.State(None)
    live = [status, moved]

    changes = [field.change for field in form.values()]
    when([tab.select, page.source.change, *changes], guess, inputs, estimated)
    when([form["backbone"].change], described, form["backbone"], [form["backbone"], form["image_size"]])
    go.click(begin, inputs, page.job, **QUIET).success(look, page.job, live, **QUIET)
    broken.success(look, page.job, live, **QUIET)
    stop.click(halt, page.job, None, queue=False, **QUIET).success(look, page.job, live, **QUIET)
    gr.on([timer.tick, page.entered.change], look, page.job, live, **QUIET)
    # Apart from the tick, as all that an answer may touch takes the browser time.
    moved.change(catch_up, [page.job, moved, page.result], [curves, cards, stop, compare, timer, page.result], **LATEST)
    compare.click(lambda: gr.Tabs(selected="compare"), None, page.tabs, **QUIET)


def _form() -> dict[str, gr.components.Component]:
    """The fields in the order in which handlers receive them; an option of a method is called `method.option`."""
    names = list(BACKBONES)
    form: dict[str, Any] = {
        "backbone": gr.Dropdown(
            [(_offer(n), n) for n in names], value=names[0], label="Backbone", elem_id="tune-backbone", info=_facts(names[0])
        ),
        "image_size": gr.Dropdown(
            **_sizes(names[0]), label=SPEC["image_size"][0].label, info=SPEC["image_size"][0].help, elem_id="tune-image_size"
        ),
        "methods": gr.CheckboxGroup(
            [(m.title, n) for n, m in METHODS.items()],
            value=["linear", "vpt-deep"],
            label="Methods",
            info="tuned one after the other on the same images",
            elem_id="tune-methods",
        ),
    }
    sections = _sections(form, advanced=False)
    with gr.Row():
        for name in PLAIN:
            opt, default = SPEC[name]
            form[name] = control(name, opt, PRESET.get(name, default), "tune", min_width=120)
        form["seeds"] = control("seeds", *options_of(Repeats)["seeds"], "tune", min_width=120)
    with gr.Accordion("Advanced", open=False, elem_id="tune-advanced"):
        with gr.Row():
            for name, (opt, default) in SPEC.items():
                if opt.advanced:
                    more = "; left as it is, each method takes its own" if name == "lr" else ""
                    form[name] = control(name, replace(opt, help=opt.help + more), default, "tune", min_width=FIELD)
        sections += _sections(form, advanced=True)
    when(
        [form["methods"].change], partial(_shown, [method for method, _ in sections]), form["methods"],
        [section for _, section in sections],
    )  # fmt: skip
    _form_keys[:] = form
    return form


_form_keys: list[str] = []


def _sections(form: dict[str, Any], advanced: bool) -> list[tuple[str, gr.Column]]:
    """For each method that has any the fields of its advanced options, or of the others; on show while it is chosen."""
    sections = []
    for method, row in METHODS.items():
        mine = {name: pair for name, pair in options_of(row.Options).items() if pair[0].advanced is advanced}
        if not mine:
            continue
        with gr.Column(elem_classes=_classes(method, form["methods"].value)) as section:
            gr.Markdown(f"**{row.title}**: {row.about}" if not advanced else f"**{row.title}**")
            with gr.Row():
                for name, (opt, default) in mine.items():
                    form[f"{method}.{name}"] = control(name, opt, default, f"tune-{method}", min_width=FIELD)
        sections.append((method, section))
    return sections


def _classes(method: str, chosen: list[str]) -> list[str]:
    return [] if method in chosen else ["gone"]  # by style: with visible=False the fields would not be sent


def _shown(methods: list[str], chosen: list[str]) -> list[gr.Column]:
    return [gr.Column(elem_classes=_classes(method, chosen)) for method in methods]


def _offer(name: str) -> str:
    return f"{card(name).title} · {availability(name).text}"


def _facts(name: str) -> str:
    shape = card(name)
    facts = f"frozen; {shape.params_m:g} million weights, {shape.depth} layers, trained on {shape.trained_on}"
    return f"{facts}; {shape.note}" if shape.note else facts


def _sizes(backbone: str) -> dict[str, Any]:
    shape = card(backbone)
    patches = {s: f", {shape.tokens(s)} patches" if shape.family == "vit" else "" for s in shape.sizes}
    return {"choices": [(f"{s} px{patches[s]}", s) for s in shape.sizes], "value": shape.default_size}


@shows_user_errors
def described(backbone: str) -> tuple[gr.Dropdown, gr.Dropdown]:
    """The facts of a backbone, and the image sizes it offers."""
    return gr.Dropdown(info=_facts(backbone)), gr.Dropdown(**_sizes(backbone))


def specs(source: str, *values: Any) -> list[Spec]:
    """The runs that a filled form asks for, seed by seed, so that a full comparison exists early; under each in the order of
    the table of methods. Raises `UserError` for what cannot be.
    """
    form = dict(zip(_form_keys, values, strict=True))
    chosen = [method for method in METHODS if method in form["methods"]]
    if not chosen:
        raise UserError("No method is chosen. Choose one or more under Methods.")
    common = {name: value for name, value in form.items() if name in SPEC}
    asked = []
    for method in chosen:
        row = METHODS[method]
        options = typed(row.Options, {name: form[f"{method}.{name}"] for name in options_of(row.Options)})
        recipe = {name: value for name, value in row.recipe.items() if name == "epochs" or common[name] == SPEC[name][1]}
        spec = Spec(**typed(Spec, common) | recipe, task=sources.place(source), method=method, options=options)
        check_spec(spec)
        asked.append(spec)
    repeats = Repeats(**typed(Repeats, {"seeds": form["seeds"]}))
    return [replace(spec, seed=spec.seed + more) for more in range(repeats.seeds) for spec in asked]


def guess(source: str, *values: Any) -> str:
    """The line that says what will be trained and how long it may take; a refusal is said in the same place."""
    try:
        asked = specs(source, *values)
        task = sources.task_of(source)
        splits = task.splits(asked[0].seed, asked[0].shots)
        seconds = sum(estimate.run_seconds(spec, task) for spec in asked)
        caps.check_caps(asked, seconds)
    except UserError as error:
        return str(error)
    cached = {spec.method: spec.epochs for spec in asked if "epochs" in METHODS[spec.method].recipe}
    more = "".join(f" {METHODS[method].title}: {epochs} epochs, quick on cached features." for method, epochs in cached.items())
    return (
        f"{task.title}: {len(splits.train)} images train, {len(splits.val)} validate, {len(splits.test)} test. "
        f"Time on this computer: {estimate.in_words(seconds)}.{more}"
    )


@shows_user_errors
def begin(source: str, *values: Any) -> str:
    """Put the runs of the form in line; gives the job's id."""
    asked, root = specs(source, *values), visitors.own_folder()
    task = sources.task_of(source)
    seconds = sum(estimate.run_seconds(spec, task) for spec in asked)
    caps.check_caps(asked, seconds)
    return JOBS.submit(asked, root, visitors.owner(), seconds).id


def halt(id: str) -> None:
    """Ask the visitor's job to stop after the current batch."""
    job = JOBS.get(id, visitors.owner())
    if job:
        JOBS.stop(job)


def look(id: str) -> tuple[dict[str, Any] | None, tuple[Any, ...]]:
    """How far the job is, and what changes when there is more to show. A function of the job alone, so a reload and a
    second tab see the same.
    """
    job = JOBS.get(id, visitors.owner())
    if job is None:
        return None, ()
    active = job.active  # asked first: a job that ends meanwhile gets one more tick, which shows its end
    finished, epochs = sum(run.finished for run in job.runs), sum(len(run.history) for run in job.runs)
    poll = NEAR if isinstance(job.now, Phase) else POLL
    return progress.state_of(job, JOBS.ahead(job), JOBS.wait(job)), (active, job.stopping.is_set(), poll, finished, epochs, id)


def catch_up(id: str, moved: tuple[Any, ...], shown: str | None) -> list[Any]:
    """What is there by now of a job that was found as `moved` says. When it has ended, the result on show is its own, and was
    `shown` before.
    """
    job = JOBS.get(id, visitors.owner())
    if job is None:
        idle = [gr.Button(interactive=False), gr.Button(visible=False), gr.Timer(active=False)]
        return [None, None, *idle, gr.Dropdown(**results.choices_of([], shown))]
    active, stopping, poll, *_ = moved
    finished = [run.name for run in job.runs if run.finished]
    return [
        progress.curves_of(job),
        progress.cards_of(job),
        gr.Button(interactive=active and not stopping),
        gr.Button(visible=bool(finished) and not active),
        gr.Timer(poll, active=active),
        gr.skip() if active else gr.Dropdown(**results.choices_of(finished, shown)),
    ]
