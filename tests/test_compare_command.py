"""`python -m vpt_core compare`: what it runs, what it takes from before, and what it says."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny import RANDOM, small_task

from vpt_core import checkpoint, series
from vpt_core.__main__ import main
from vpt_core.comparison import compare
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.runs import Run, list_runs, process_id
from vpt_core.spec import Spec
from vpt_core.train import Diverged, Epoch


@pytest.fixture
def asking(task_folder: str, tmp_path: Path) -> list[str]:
    """A linear probe and VPT-deep under two seeds, each in a fraction of a second."""
    return ["compare", "--task", task_folder, "--backbone", RANDOM, "--image-size", "32", "--epochs", "2", "--batch-size", "6",
            "--methods", "vpt-deep", "linear", "--seeds", "2", "--prompts", "3", "--runs", str(tmp_path / "runs")]  # fmt: skip


def _refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_it_runs_seeds_outermost_and_prints_the_comparison(asking, tmp_path, capsys):
    assert main(asking) == 0
    lines = capsys.readouterr().out.splitlines()
    runs = list_runs(tmp_path / "runs")
    methods = ("VPT-deep (Prompt tokens 3)", "Linear probe")
    assert [line.split(":")[0] for line in lines[:4]] == [f"{method}, seed {seed}" for seed in (0, 1) for method in methods]
    assert {line.split()[-1] for line in lines[:4]} == {str(run.folder) for run in runs}
    assert Counter((run.spec.method, run.spec.epochs) for run in runs) == {("vpt-deep", 2): 2, ("linear", 2): 2}
    assert "\n".join(lines[4:]) == compare(runs).text()


def test_what_was_run_before_is_taken_from_there(asking, tmp_path, capsys):
    assert main(asking) == 0
    before = {run.name for run in list_runs(tmp_path / "runs")}
    shutil.rmtree(tmp_path / "runs" / sorted(before)[0])
    capsys.readouterr()
    assert main([*asking, "--dropout", "0.1", "--json"]) == 0  # 0.1 is the default of vpt-deep
    said = capsys.readouterr()
    assert said.err.count("tuned before") == 3 and len(list_runs(tmp_path / "runs")) == 4
    assert json.loads(said.out)["seeds"] == [0, 1]
    folders = [str(run.folder) for run in list_runs(tmp_path / "runs")]
    assert main(["compare", "--json", *folders]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(said.out)


def test_a_stopped_run_or_other_images_are_no_run_before(finished_run, tmp_path):
    shutil.copytree(finished_run.folder, tmp_path / "runs" / finished_run.name)
    (run,) = list_runs(tmp_path / "runs")
    task = series.load_task(run.spec.task)
    assert series.done_before(run.spec, task, tmp_path / "runs").name == run.name
    assert series.done_before(run.spec, small_task(each=9), tmp_path / "runs") is None
    status = json.loads((run.folder / "status.json").read_text()) | {"state": "stopped"}
    (run.folder / "status.json").write_text(json.dumps(status))
    assert series.done_before(run.spec, task, tmp_path / "runs") is None


def test_each_method_has_its_recipe_and_what_is_asked_holds_for_all():
    own = series.specs(list(METHODS), [3], {}, {})
    assert own == [Spec(method=method, seed=3, **row.recipe) for method, row in METHODS.items()]
    same = series.specs(["linear", "vpt-deep"], range(3, 5), {"epochs": 7, "lr": 0.5}, {"layers": "2"})
    assert all((spec.epochs, spec.lr) == (7, 0.5) for spec in same)
    assert [(s.seed, s.method, s.options) for s in same] == [
        (3, "linear", {}), (3, "vpt-deep", {"layers": "2"}), (4, "linear", {}), (4, "vpt-deep", {"layers": "2"})]  # fmt: skip


def _breaking(monkeypatch, at: Callable[[Run, Epoch], bool], what: Callable[[], None]) -> None:
    """Let `what` happen when the run is `at` such an epoch, once."""
    real, happened = series.execute, []

    def broken(run):
        for record in real(run):
            yield record
            if isinstance(record, Epoch) and at(run, record) and not happened:
                happened.append(True)
                what()

    monkeypatch.setattr(checkpoint, "SHARE", 1.0)  # after every epoch, however short
    monkeypatch.setattr(series, "execute", broken)


def _outcome(text: str) -> dict:
    """A comparison as JSON, without what differs from time to time."""
    found = json.loads(text)
    return found | {"methods": [{k: v for k, v in m.items() if k not in ("seconds", "runs")} for m in found["methods"]]}


def _same_as_unbroken(asking: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What is told when the command is given again, once its outcome was held against that of one that was never broken."""
    capsys.readouterr()
    assert main([*asking, "--json"]) == 0
    again = capsys.readouterr()
    assert main([*asking[:-1], str(tmp_path / "unbroken"), "--json"]) == 0
    assert _outcome(again.out) == _outcome(capsys.readouterr().out)
    logits = ([run.array("logits") for run in list_runs(tmp_path / name)] for name in ("runs", "unbroken"))
    assert max(np.abs(one - other).max() for one, other in zip(*logits, strict=True)) < 1e-5
    return again.err


def test_ctrl_c_and_the_same_command_goes_on(asking, capsys, monkeypatch, tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    at_first = lambda run, epoch: (run.spec.seed, run.spec.method, epoch.epoch) == (1, "vpt-deep", 1)  # noqa: E731
    _breaking(monkeypatch, at_first, lambda: signal.raise_signal(signal.SIGINT))
    assert main(asking) == 0
    out = capsys.readouterr().out
    assert "Stopping after this batch; the same command goes on from there." in out and "seed 1: broken off. " in out
    states = Counter(run.status["state"] for run in list_runs(tmp_path / "runs"))
    assert states == {"done": 2, "interrupted": 1} and "as the mean of" not in out and "of 6) " in out
    assert signal.getsignal(signal.SIGINT) is handler
    told = _same_as_unbroken(asking, tmp_path, capsys).splitlines()
    assert len(list_runs(tmp_path / "runs")) == len(told) == 4
    assert ["tuned before" in line for line in told] == [True, True, False, False]
    assert ["gone on with after epoch 1" in line for line in told] == [False, False, True, False]


class Killed(BaseException):
    """Nothing in the program knows it."""


@pytest.mark.parametrize("checkpointed", [True, False])
def test_a_killed_comparison_goes_on(checkpointed, asking, capsys, monkeypatch, tmp_path):
    def killed() -> None:
        (run,) = list_runs(tmp_path / "runs")
        files = (f for f in run.folder.rglob("*") if f.is_file() and (checkpointed or "checkpoint" not in f.name))
        left.update({file: file.read_bytes() for file in files})
        raise Killed

    left: dict[Path, bytes] = {}
    _breaking(monkeypatch, lambda run, epoch: True, killed)
    with pytest.raises(Killed):
        main(asking)
    (run,) = list_runs(tmp_path / "runs")
    shutil.rmtree(run.folder)
    for file, data in left.items():  # as kill -9 leaves it
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data.replace(process_id().encode(), b"999999999-gone"))
    told = _same_as_unbroken(asking, tmp_path, capsys).splitlines()
    assert told[0].endswith(str(run.folder)) and ("gone on with after epoch 1" in told[0]) == checkpointed


def test_anew_uses_nothing_from_before(asking, capsys, tmp_path):
    assert main([*asking, "--seeds", "1"]) == 0
    capsys.readouterr()
    assert main([*asking, "--seeds", "1", "--anew"]) == 0
    assert "tuned before" not in capsys.readouterr().out and len(list_runs(tmp_path / "runs")) == 4
    assert "not both" in _refused(["compare", "some/run", "--anew"], capsys)


def test_a_checkpoint_of_other_images_is_left_alone(copied_run):
    root, task = copied_run.folder.parent, series.load_task(copied_run.spec.task)
    status = json.loads((copied_run.folder / "status.json").read_text()) | {"state": "interrupted"}
    (copied_run.folder / "status.json").write_text(json.dumps(status))
    copied_run.checkpoint.write_bytes(b"one")
    assert series.broken_before(copied_run.spec, task, root).name == copied_run.name
    assert series.broken_before(copied_run.spec, small_task(each=9), root) is None
    assert series.broken_before(replace(copied_run.spec, seed=5), task, root) is None


def test_a_run_that_fails_is_told_and_the_others_go_on(asking, capsys, monkeypatch, tmp_path):
    real = series.execute

    def diverges(run):
        if run.spec.method == "vpt-deep":
            raise Diverged("The loss became nan.")
        yield from real(run)

    monkeypatch.setattr(series, "execute", diverges)
    assert main(asking) == 2
    out = capsys.readouterr().out
    assert out.count("The loss became nan.") == 2 and "as the mean of 2 seeds, Linear probe gets" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "linear", "vpt-deap"], "There is no method 'vpt-deap'. Did you mean 'vpt-deep'?"),
        (["--methods", "linear"], "No method of linear has --prompts"),
        (["--seeds", "0"], "Seeds is 0; it has to be at least 1"),
        (["--task", "nowhere"], "There is no task 'nowhere'"),
        (["--layers", "0-3"], "Prompted layers is '0-3'"),
        (["--epochs", "0"], "Epochs is 0"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_runs(arguments, words, asking, capsys, tmp_path):
    assert words in _refused([*asking, *arguments], capsys)
    assert not (tmp_path / "runs").exists()
    assert "not both" in _refused(["compare", "some/run", *asking[1:]], capsys)


def test_what_is_no_run(tmp_path, capsys):
    assert "is not the folder of a run" in _refused(["compare", str(tmp_path)], capsys)


def test_an_option_that_no_method_has():
    with pytest.raises(UserError, match="No method of linear has --layers"):
        series.specs(["linear"], [0], {}, {"layers": "all"})
