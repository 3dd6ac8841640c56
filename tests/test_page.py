"""What stands behind the page, without a browser: jobs, visitors' data, forms, estimates, files to take away."""

from __future__ import annotations

import time
import zipfile
from collections import Counter
from pathlib import Path

import faked
import gradio as gr
import numpy as np
import pytest
from PIL import Image
from tiny import RANDOM

from app import estimate, progress, results, settings, sources, verdict
from app.controls import control, typed
from app.jobs import Job, Jobs
from app.tabs import compare, data, differences, inspect, save, tryit, tune
from app.ui import build
from vpt_core import METHODS, Spec, UserError
from vpt_core.execute import Phase
from vpt_core.options import options_of
from vpt_core.prompt_file import load_prompt
from vpt_core.runs import Run, new_run
from vpt_core.tasks import TASKS, load_task
from vpt_core.train import Step

QUICK = Spec(task="sprites-count", backbone=RANDOM, method="vpt-deep", image_size=32, shots=1, epochs=2)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runs folder, and no memory of tasks."""
    monkeypatch.setattr(settings, "RUNS", tmp_path / "runs")
    results.cached_task.cache_clear()
    return tmp_path / "runs"


def _ended(job: Job) -> Job:
    for _ in range(600):
        if not job.active:
            return job
        time.sleep(0.1)
    raise AssertionError(f"job still {job.state}: {job.now}")


def _zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _png(tmp_path: Path, shade: int) -> bytes:
    Image.fromarray(np.full((20, 20, 3), shade, np.uint8)).save(tmp_path / "one.png")
    return (tmp_path / "one.png").read_bytes()


def test_the_page_has_all_its_tabs_and_no_public_endpoint():
    config = build().get_config_file()
    labels = [c["props"].get("label") for c in config["components"] if c["type"] == "tabitem"
              and str(c["props"].get("elem_id")).startswith("tab-")]
    assert labels == ["Start", "Data", "Tune", "Compare", "Look inside", "Try it", "Save"]
    assert not [d["api_name"] for d in config["dependencies"] if d["api_visibility"] == "public"]


def test_an_event_of_a_component_calls_the_server_once():
    """Gradio can go round for ever in events with several handlers: `app.events.when`. Those of States are called singly."""
    config = build().get_config_file()
    states = {c["id"] for c in config["components"] if c["type"] == "state"}
    calls = Counter((target, event) for d in config["dependencies"] if d["backend_fn"] for target, event in d["targets"]
                    if target is not None and target not in states)
    assert len(calls) > 40 and set(calls.values()) == {1}, [call for call, times in calls.items() if times > 1]


def test_a_job_runs_in_order_and_its_results_are_found(runs):
    job = _ended(Jobs().submit([Spec(**{**QUICK.to_json(), "method": "linear"}), QUICK], runs))
    assert job.state == "done" and [run.spec.method for run in job.runs] == ["linear", "vpt-deep"]
    assert all(run.finished for run in job.runs)
    assert [len(c["title"]) > 0 for c in progress.cards_of(job)] == [True, True]
    assert len(progress.curves_of(job)["data"]) == 4
    result = next(r for r in results.all_results().values() if not r.recorded)
    assert [run.name for run in result.runs] == [run.name for run in job.runs]
    assert results.find(result.key).key == result.key and result.title.startswith("How many")
    assert (result.test_index == load_task("sprites-count").splits(0, 1).test).all()


def test_a_job_that_ends_while_it_is_looked_at_gets_one_more_look(runs, monkeypatch):
    job = Job([])
    monkeypatch.setattr(tune.JOBS, "get", lambda id, owner: job)
    monkeypatch.setattr(tune.progress, "curves_of", lambda job: setattr(job, "state", "done"))
    monkeypatch.setattr(tune.progress, "state_of", lambda job, *line: job.state)
    first, moved = tune.look(job.id)
    *_, timer, result = tune.catch_up(job.id, moved, None)
    assert first == "waiting" and timer.active and result == gr.skip()
    last, ended = tune.look(job.id)
    *_, timer, _ = tune.catch_up(job.id, ended, None)
    assert last == "done" and ended != moved and not timer.active


def test_stop_before_and_in_the_line(runs):
    jobs = Jobs()
    first, second = jobs.submit([Spec(**{**QUICK.to_json(), "epochs": 1000})], runs), jobs.submit([QUICK], runs)
    assert jobs.ahead(second) == 1 and "before yours" in progress.state_of(second, 1)["text"]
    jobs.stop(second)
    assert second.state == "stopped" and not second.runs[0].unfinished
    jobs.stop(first)
    assert _ended(first).state in ("stopped", "failed") and _ended(second).state == "stopped"
    assert "Stopped" in progress.state_of(first, 0)["text"] and "Stopped" in second.message
    assert jobs.get(first.id) is first and jobs.get("unknown") is None and jobs.get(None) is None


def test_a_job_that_stops_says_what_is_done_yet(runs):
    job = Job([new_run(QUICK, runs)], state="running", now=Step(1, 3, 9, 0.5, 2.0))
    assert "step 3 of 9" in progress.state_of(job, 0)["text"]
    job.stopping.set()
    assert progress.state_of(job, 0)["text"] == "VPT-deep: stopping after this batch, the best epoch is kept ..."
    job.now = Phase("Testing", 5, 20)
    assert progress.state_of(job, 0) == {"text": "VPT-deep: stopping: testing, 5 of 20", "done": 5, "total": 20, "tone": ""}


def test_a_job_that_cannot_be_done_says_why_and_the_line_goes_on(runs):
    jobs = Jobs()
    bad = jobs.submit([Spec(**{**QUICK.to_json(), "image_size": 33})], runs)
    assert _ended(bad).state == "failed" and "33" in bad.message
    assert _ended(jobs.submit([QUICK], runs)).state == "done"


def test_an_upload_becomes_a_data_set_of_its_own(runs, tmp_path):
    files = {f"{name}/{i}.png": _png(tmp_path, 10 * i + 100 * c) for c, name in enumerate(("cat", "dog")) for i in range(6)}
    source = sources.take_in(_zip(tmp_path / "my pets.zip", files), lambda done, total: None)
    task = sources.task_of(source)
    assert task.title == "my pets" and task.classes == ("cat", "dog") and len(task.labels) == 12
    assert Path(sources.place(source)).is_relative_to(runs)
    assert [row[0] for row in data.counts_of(task)] == ["cat", "dog"] and len(data.samples_of(task)) == 12
    assert sources.place("stamps") == "stamps"


@pytest.mark.parametrize("source", ["", "/etc", "import:../../etc", "import:" + "0" * 32, "../runs", "import:" + "g" * 32])
def test_a_made_up_source_is_refused(runs, source):
    with pytest.raises(UserError, match="not on this computer"):
        sources.place(source)


def test_a_refused_upload_leaves_nothing(runs, tmp_path):
    with pytest.raises(UserError):
        sources.take_in(_zip(tmp_path / "empty.zip", {}), lambda done, total: None)
    assert not (runs / sources.DATA).exists()


def test_samples_show_every_class_first():
    for name in TASKS:
        task = load_task(name)
        shown = data.samples_of(task)
        assert len({caption for _, caption in shown}) == min(len(task.classes), data.SHOWN)


def test_every_option_has_a_field_that_gives_its_type_back():
    for owner in (Spec, *(row.Options for row in METHODS.values())):
        for name, (opt, default) in options_of(owner).items():
            field = control(name, opt, default, "x")
            assert field.elem_id == f"x-{name}" and field.label == opt.label and field.value == default
            given = float(default) if type(default) is int else default
            assert type(typed(owner, {name: given})[name]) is type(default)
    with pytest.raises(UserError, match="Epochs is empty"):
        typed(Spec, {"epochs": None})


def _form(**changes):
    build()
    values = {"backbone": RANDOM, "image_size": 32, "methods": ["vpt-deep", "linear"]}
    values |= {n: default for n, (_, default) in options_of(Spec).items() if n not in values and n not in ("task", "method")}
    values["seeds"] = 1
    for method, row in METHODS.items():
        values |= {f"{method}.{n}": default for n, (_, default) in options_of(row.Options).items()}
    values |= changes
    return [values[key] for key in tune._form_keys]


def test_the_form_becomes_specs_in_the_order_of_the_table():
    linear, deep = tune.specs("stamps", *_form(**{"epochs": 3.0, "vpt-deep.prompts": 5.0}))
    assert (linear.method, linear.epochs, linear.options) == ("linear", 100, {})
    assert (deep.method, deep.epochs, deep.options["prompts"]) == ("vpt-deep", 3, 5)
    assert linear.seed == deep.seed and linear.task == deep.task == "stamps"


def test_seeds_are_outermost_and_count_on_from_the_first():
    asked = tune.specs("stamps", *_form(seed=4, seeds=3.0))
    assert [(s.seed, s.method) for s in asked] == [(seed, m) for seed in (4, 5, 6) for m in ("linear", "vpt-deep")]


def _seeds(runs: Path, seeds: dict[str, range]) -> None:
    """Finished runs of each method under its seeds; the images of the task are those of the first seed."""
    for m, (method, mine) in enumerate(seeds.items()):
        for seed in mine:
            spec = Spec(task="sprites-count", method=method, seed=seed, image_size=32)
            faked.judged(runs / f"{method}-{seed}", spec, np.arange(180) < 90 + 40 * m + seed, 10 ** (3 + m))


def test_seeds_are_one_result_beside_one_of_each_seed(runs):
    _seeds(runs, {"linear": range(3), "vpt-deep": range(2)})
    there = [r for r in results.all_results().values() if not r.recorded]
    ends = [r.title.split(" · ")[-1] for r in there]
    assert ends[0] == "seeds 0 to 2" and sorted(ends[1:]) == ["seed 0", "seed 1", "seed 2"] and len(there[0].runs) == 5
    assert results.find(there[0].key).key == there[0].key == results.choices(None)["value"]
    one = results.find_seed(there[0].key)
    assert [run.name for run in one.runs] == ["linear-0", "vpt-deep-0"]
    assert verdict.labels(one) == ["Linear probe, seed 0", "VPT-deep, seed 0"]
    assert verdict.labels(there[ends.index("seed 0")]) == ["Linear probe", "VPT-deep"]


def test_every_tab_works_on_a_result_of_several_seeds(runs):
    _seeds(runs, {"linear": range(2), "vpt-deep": range(2)})
    key = results.choices(None)["value"]
    said, *_, which = compare.show(key)
    assert said.startswith("On 180 test images, as the mean of 2 seeds, VPT-deep is the best (72.5 %)") and which == ""
    radio, image, _ = inspect.offer(key, None, 5)
    assert [label for label, _ in radio.choices] == ["Linear probe, seed 0", "VPT-deep, seed 0"] and image == 5
    assert len(inspect.show_strip(key, "vpt-deep-0", "wrong", 0)[1]) == 50
    assert differences.offer(key)[4].value == "linear-0" and len(tryit.offer(key)) == tryit.SAMPLES
    assert [label for label, _ in save.offer(key).choices] == ["Linear probe, seed 0", "VPT-deep, seed 0"]


def test_a_job_of_several_seeds_has_a_card_a_method_and_settles_on_its_own(runs, monkeypatch):
    _seeds(runs, {"linear": range(3), "vpt-deep": range(3)})
    mine = [Run(runs / f"{method}-{seed}") for seed in range(3) for method in ("linear", "vpt-deep")]
    job = Job(mine, state="done", at=3)
    cards = progress.cards_of(job)
    assert [c["title"] for c in cards] == ["Linear probe", "VPT-deep"]
    assert cards[1]["small"].startswith("mean of 3 seeds (72, 73, 73 %), 95 % interval") and cards[1]["tone"] == "accent"
    lines = progress.curves_of(job)["data"]
    assert len(lines) == 12 and sum(line["showlegend"] for line in lines) == 2
    job.state = "running"
    assert progress.state_of(job, 0)["text"].startswith("VPT-deep, seed 1 (4 of 6): ")
    monkeypatch.setattr(tune.JOBS, "get", lambda id, owner: job)
    status, moved = tune.look("")
    assert tune.look("") == (status, moved)  # so that the page is left alone
    job.state = "done"
    ended = tune.look("")[1]
    assert ended != moved and results.find(tune.catch_up("", ended, None)[-1].value).seeds == [0, 1, 2]
    job.runs = mine[2:4]
    assert results.find(tune.catch_up("", ended, None)[-1].value).seeds == [1]
    job.runs = []
    assert tune.catch_up("", ended, "unknown")[-1].value == results.choices(None)["value"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": []}, "No method"),
        ({"seeds": 6}, "Seeds is 6; it has to be from 1 to 5"),
        ({"seeds": None}, "Seeds is empty"),
        ({"epochs": 0}, "Epochs is 0"),
        ({"vpt-deep.layers": "13-14"}, "Prompted layers"),
        ({"lr": None}, "Learning rate is empty"),
        ({"backbone": "resnet50"}, "VPT-deep needs tokens"),
    ],
)
def test_a_form_that_cannot_be_is_answered_with_a_sentence(changes, said):
    assert said in tune.guess("stamps", *_form(**changes))


def test_the_guess_names_images_and_time():
    said = tune.guess("stamps", *_form(shots=4))
    assert "36 images train" in said and "Time on this computer" in said


def test_estimates_grow_with_the_work():
    task = load_task("sprites-count")
    specs = {m: Spec(task="sprites-count", method=m, shots=8, **METHODS[m].recipe) for m in METHODS}
    linear, deep = (estimate.run_seconds(specs[m], task) for m in ("linear", "vpt-deep"))
    late = estimate.run_seconds(Spec(**{**specs["vpt-deep"].to_json(), "options": {"layers": "12"}}), task)
    assert linear < late < deep
    assert (
        estimate.in_words(3) == "some seconds"
        and estimate.in_words(41) == "about 40 s"
        and estimate.in_words(200) == "about 3 min"
    )


def test_what_is_saved_is_what_was_learned(runs):
    job = _ended(Jobs().submit([QUICK], runs))
    save.copies.cache_clear()
    prompt, whole = save.copies(job.runs[0].folder)
    assert prompt.name == "how-many-vpt-deep.safetensors" and load_prompt(prompt).about.task == "How many"
    with zipfile.ZipFile(whole) as archive:
        names = {Path(name).name for name in archive.namelist()}
    assert {"spec.json", "status.json", "history.jsonl", "tuned.safetensors", "logits.npy", "README.md"} <= names
    key = next(k for k, r in results.all_results().items() if not r.recorded)
    said, value = tryit.answers(key, load_task("sprites-count").pixels[0], "1 object")
    assert said.endswith("It is: 1 object.") and sum(row["values"][0] for row in value["rows"]) == pytest.approx(1, abs=1e-5)
    facts, _, _, code = save.pack(key, job.runs[0].name)
    assert "kB" in facts[0]["big"] and prompt.name in code
    compile(code, "snippet", "exec")
