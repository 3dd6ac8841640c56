"""Runs: a folder that tells the truth about what was asked, what happened and what was learned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny import FITTING, RANDOM, SIZE, saved_task

from vpt_core import embed
from vpt_core.backbones import load, load_backbone, timm_models, wrap
from vpt_core.errors import UserError
from vpt_core.execute import Phase, execute, tune
from vpt_core.methods import METHODS
from vpt_core.metrics import Score
from vpt_core.prompt_file import load_prompt
from vpt_core.runs import Run, list_runs, new_run, open_run
from vpt_core.spec import Spec
from vpt_core.tasks import load_task
from vpt_core.train import Epoch, Step

ARRAYS = {"logits.npy", "features.npy", "frozen.npy"}
FILES = {"spec.json", "history.jsonl", "status.json", "tuned.safetensors", "test.json", "epochs"} | ARRAYS


def read(run: Run, name: str) -> dict:
    """A JSON file of the run, in which NaN and Infinity, which are no JSON, may not stand."""
    return json.loads((run.folder / name).read_text(), parse_constant=lambda word: pytest.fail(f"{word} in {name}"))


def stop_at(run: Run, last: int) -> list:
    """Execute `run` and ask it to stop after `last` batches; what it told."""
    told = []
    for record in execute(run, lambda: sum(isinstance(r, Step) for r in told) >= last):
        told.append(record)
    return told


@pytest.mark.parametrize("method", METHODS)
def test_round_trip(method, small_spec, tmp_path, monkeypatch):
    """Tuned, saved, and loaded onto a second copy of the backbone: the same logits on the test images."""
    run = tune(replace(small_spec, method=method, options=FITTING.get(method, {})), tmp_path)
    task = load_task(run.spec.task)
    index = task.splits(run.spec.seed, run.spec.shots).test
    first = load_backbone(RANDOM)
    monkeypatch.setattr(load, "_loaded", {})
    classifier = run.classifier()
    assert classifier.model.backbone is not first
    assert np.abs(classifier.logits(task.pixels[index]) - run.array("logits")).max() < 1e-5
    copy = wrap(timm_models.build_random("test_vit"), first.card)
    assert np.abs(load_prompt(run.prompt_file, copy).logits(task.pixels[index]) - run.array("logits")).max() < 1e-5
    assert classifier.classes == task.classes == tuple(run.classes)


def test_the_folder_holds_what_the_module_says_and_nothing_else(finished_run, small_spec):
    run, task = finished_run, load_task(small_spec.task)
    assert {f.name for f in run.folder.iterdir()} == FILES
    index = task.splits(4, 0).test
    assert read(run, "spec.json") == small_spec.to_json() and run.spec == small_spec
    assert run.labels.tolist() == task.labels[index].tolist() and run.image_names == [task.names[i] for i in index]
    logits, features, frozen = (run.array(name) for name in ("logits", "features", "frozen"))
    assert (logits.shape, features.shape, frozen.shape) == ((6, 3), (6, 64), (6, 64))
    assert {a.dtype for a in (logits, features, frozen)} == {np.dtype("float32")}
    untuned = load_backbone(RANDOM)(torch.from_numpy(task.pixels[index]).permute(0, 3, 1, 2) / 255)
    assert np.allclose(frozen, untuned, atol=1e-5) and not np.allclose(features, frozen, atol=1e-3)
    assert run.test == Score(int((logits.argmax(1) == run.labels).sum()), 6)
    assert np.allclose(run.classifier().model.head(torch.from_numpy(features)).detach(), logits, atol=1e-5)


def test_the_status_says_what_happened(finished_run):
    status = finished_run.status
    assert status == read(finished_run, "status.json")
    assert (status["state"], status["reason"], finished_run.finished) == ("done", "", True)
    assert status["counts"] == {"train": 18, "val": 6, "test": 6}
    assert status["trained"] == 6 * 2 * 64 + 3 * 65 and status["backbone_parameters"] == load_backbone(RANDOM).params
    assert status["weights_hash"] == load_backbone(RANDOM).weights_hash
    assert status["task_fingerprint"] == load_task(finished_run.spec.task).fingerprint
    assert {"vpt_core", "python", "torch", "timm", "numpy"} <= set(status["versions"])
    assert {"embed", "train", "test", "total"} == set(status["seconds"]) and status["seconds"]["total"] > 0
    assert status["file_bytes"] == finished_run.prompt_file.stat().st_size
    assert status["best_epoch"] == [e for e in finished_run.history if e.best][-1].epoch
    assert finished_run.title == "VPT-deep" and finished_run.classes == ["a", "b", "c"]


def test_only_what_was_learned_is_stored(finished_run):
    with safe_open(finished_run.prompt_file, "pt") as file:
        shapes = {name: tuple(file.get_tensor(name).shape) for name in file.keys()}  # noqa: SIM118 (no dict)
    assert shapes == {"head.weight": (3, 64), "head.bias": (3,), "method.prompts": (6, 2, 64)}
    assert finished_run.prompt_file.stat().st_size < 4 * finished_run.status["trained"] + 1500
    for file in finished_run.folder.glob("*.npy"):
        np.load(file, allow_pickle=False)


def test_the_history_is_what_execute_told(small_spec, tmp_path):
    run = new_run(small_spec, tmp_path)
    assert run.status["state"] == "waiting" and run.history == [] and not run.finished
    told = []
    for record in execute(run):
        told.append(record)
        if isinstance(record, Epoch):
            assert run.history[-1] == record and run.status["state"] == "running"
    assert run.history == [r for r in told if isinstance(r, Epoch)] and len(run.history) == 3
    assert [r.step for r in told if isinstance(r, Step)] == list(range(1, 10))
    assert isinstance(told[0], Phase) and all(0 <= r.done <= r.total for r in told if isinstance(r, Phase))
    for line in (run.folder / "history.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(word))


def test_equal_specs_have_equal_histories_and_results(small_spec, finished_run, tmp_path):
    again, other = (tune(spec, tmp_path) for spec in (small_spec, replace(small_spec, seed=1)))

    def told(run: Run) -> list:
        return [replace(e, seconds=0) for e in run.history]

    assert told(again) == told(finished_run) and (again.array("logits") == finished_run.array("logits")).all()
    assert told(other) != told(finished_run)


def test_stopped_it_keeps_the_best_epoch(small_spec, tmp_path):
    run = new_run(replace(small_spec, epochs=50), tmp_path)
    told = stop_at(run, 8)  # three batches an epoch: in the third
    assert [r.step for r in told if isinstance(r, Step)] == list(range(1, 9))
    best = [e for e in run.history if e.best][-1]
    share = f"{best.val_accuracy:.0%}"
    assert run.status["state"] == "stopped" and run.finished and len(run.history) == 2
    assert run.status["reason"] == (
        f"Stopped in epoch 3. The best model (epoch {best.epoch}, {share} of the validation images right) is kept."
    )
    assert run.status["best_epoch"] == best.epoch and run.test.total == 6


def test_stopped_in_the_first_epoch_it_says_so(small_spec, tmp_path):
    run = new_run(small_spec, tmp_path)
    stop_at(run, 1)
    assert run.status["reason"] == "Stopped in epoch 1. No epoch had ended; the weights are those of the last step."
    assert run.status["best_epoch"] is None and run.history == [] and run.finished


def test_stopped_before_training_it_has_failed(small_spec, tmp_path):
    run = new_run(small_spec, tmp_path)
    with pytest.raises(UserError, match="Stopped before training began; nothing was learned yet"):
        list(execute(run, lambda: True))
    assert (run.status["state"], run.finished) == ("failed", False)
    assert run.status["reason"] == "Stopped before training began; nothing was learned yet."
    assert not (run.folder / "tuned.safetensors").exists()


def test_a_reader_who_leaves_is_recorded(small_spec, tmp_path):
    run = new_run(small_spec, tmp_path)
    work = execute(run)
    next(record for record in work if isinstance(record, Epoch))
    work.close()
    assert (run.status["state"], run.status["reason"], len(run.history)) == ("interrupted", "The run was broken off.", 1)


def test_divergence_keeps_the_best_epoch_or_fails(small_spec, tmp_path):
    wild = replace(small_spec, lr=100.0, weight_decay=1.0, warmup=0.0, epochs=30)
    kept = tune(wild, tmp_path)
    assert kept.status["state"] == "stopped" and kept.finished and np.isfinite(kept.array("logits")).all()
    assert "10 times smaller: 10 instead of 100. The best model (epoch " in kept.status["reason"]
    kept.classifier()
    run = new_run(replace(wild, epochs=1, batch_size=1), tmp_path)
    with pytest.raises(UserError, match=r"The loss became (nan|inf) in epoch 1"):
        list(execute(run))
    assert run.status["state"] == "failed" and "learning rate 10 times smaller" in run.status["reason"]


def test_a_run_that_cannot_be_done_records_the_reason(small_spec, tmp_path):
    with pytest.raises(UserError, match="There is no task 'nowhere'") as error:
        tune(replace(small_spec, task="nowhere"), tmp_path)
    (run,) = list_runs(tmp_path)
    assert (run.status["state"], run.status["reason"], run.finished) == ("failed", str(error.value), False)


def test_a_bug_is_recorded_and_raised(small_spec, tmp_path, monkeypatch):
    monkeypatch.setattr("vpt_core.execute.load_task", lambda source: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        tune(small_spec, tmp_path)
    (run,) = list_runs(tmp_path)
    assert (run.status["state"], run.status["reason"]) == ("failed", "ZeroDivisionError: division by zero")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method": "nope"}, "There is no method 'nope'"),
        ({"method": "linear", "options": {"prompts": 1}}, "has no option 'prompts'"),
        ({"options": {"prompts": -1}}, "Prompt tokens is -1"),
        ({"options": {"layers": "7"}}, "layers from 1 to 6"),
        ({"backbone": "vit-xxl"}, "There is no backbone 'vit-xxl'"),
    ],
)
def test_a_spec_that_cannot_be_makes_no_folder(change, words, small_spec, tmp_path):
    with pytest.raises(UserError, match=words):
        new_run(replace(small_spec, **change), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["waiting", "running", "done"])
def test_a_run_whose_process_is_gone_is_interrupted(state, small_spec, tmp_path):
    run = new_run(small_spec, tmp_path)
    here = run.status
    assert here["state"] == "waiting"
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    # Gone; of our number but an earlier one, as after a container's restart; another process that goes on; ourselves.
    cases = {f"{child.pid}-1": False, f"{os.getpid()}-1": False, f"{os.getppid()}-1": True, here["process"]: True}
    for process, alive in cases.items():
        (run.folder / "status.json").write_text(json.dumps(here | {"state": state, "process": process}))
        lost = state != "done" and not alive
        assert run.status["state"] == ("interrupted" if lost else state)
        assert run.status["reason"] == ("The program ended while this run was going on." if lost else "")


def test_runs_are_listed_newest_first(tmp_path):
    assert list_runs(tmp_path) == list_runs(tmp_path / "nothing") == []
    names = ["20250101-120000-b-linear-00", "20250101-120001-a-linear-00", "20260101-000000-c-linear-00"]
    for name in [names[1], names[0], names[2], "notes"]:
        (tmp_path / name).mkdir()
        if name != "notes":
            (tmp_path / name / "spec.json").write_text(json.dumps(Spec().to_json()))
            (tmp_path / name / "status.json").write_text(json.dumps({"state": "failed", "reason": ""}))
    assert [run.name for run in list_runs(tmp_path)] == names[::-1]


def test_names_of_runs_are_safe_and_distinct(tmp_path):
    tasks = ["../../etc/passwd", "C:\\Users\\Me\\My Photos.zip", "数据.zip", "x" * 500, "-rf"]
    runs = [new_run(Spec(task=task), tmp_path) for task in [*tasks, *tasks]]
    assert len({run.name for run in runs}) == 10 and all(run.folder.parent == tmp_path for run in runs)
    assert all(open_run(tmp_path, run.name).spec == run.spec for run in runs)


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../{name}", "{name}/", "./{name}", "/{root}/{name}", "{name}\n", "{name}\0", "UP", "no"]
)
def test_a_name_is_never_a_path(name, copied_run):
    inside = copied_run.folder.parent / "inside"
    inside.mkdir()
    assert open_run(copied_run.folder.parent, copied_run.name).spec == copied_run.spec
    with pytest.raises(UserError, match="There is no run"):
        open_run(inside, name.format(name=copied_run.name, root=inside.parent))
    with pytest.raises(UserError, match="There is no run"):
        open_run(inside.parent, name.format(name=copied_run.name, root=inside.parent))


def test_everything_after_training_reads_only_the_folder(copied_run, finished_run, monkeypatch):
    monkeypatch.setattr("vpt_core.tasks.load_task", lambda source: pytest.fail("read the task"))
    assert copied_run.history == finished_run.history and copied_run.test == finished_run.test
    assert copied_run.classifier().classes == ("a", "b", "c")


def test_a_task_without_test_and_validation_images(tmp_path):
    """One image a class: both train."""
    task = saved_task(tmp_path / "task", each=1)
    for method in METHODS:
        run = tune(Spec(task=task, backbone=RANDOM, method=method, options=FITTING.get(method, {}), image_size=SIZE, epochs=1),
                   tmp_path / method)
        assert run.status["counts"] == {"train": 3, "val": 0, "test": 0}
        assert run.finished and run.test == Score(0, 0) and run.array("frozen").shape == (0, 64)
        assert [(e.val_loss, e.best) for e in run.history] == [(None, True)]


def test_frozen_features_are_stored_also_where_they_are_not_cached(small_spec, finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(embed, "CACHE_BYTES", 0)
    monkeypatch.setattr(embed, "DISK_BYTES", 0)
    monkeypatch.setattr("vpt_core.execute._UNTUNED", {})
    run = tune(small_spec, tmp_path)
    assert np.allclose(run.array("frozen"), finished_run.array("frozen"), atol=1e-5)
    assert run.status["cached_stages"] == 0
