"""Broken off and gone on with: the same result as never broken, nothing lost on the way, and a word when there is no room."""

from __future__ import annotations

import errno
import io
import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import FITTING, SIZE, labels_of, pictures, same, saved_task, tiny_backbone, told, weights

from vpt_core import checkpoint, execute, files
from vpt_core.__main__ import main
from vpt_core.checkpoint import load_checkpoint, save_checkpoint
from vpt_core.embed import drain, feed
from vpt_core.errors import UserError
from vpt_core.execute import resume, tune
from vpt_core.methods import METHODS
from vpt_core.methods.attending import PRODUCTS
from vpt_core.methods.how import How
from vpt_core.model import Model
from vpt_core.runs import Run, list_runs, new_run
from vpt_core.shortage import shortage
from vpt_core.spec import Spec
from vpt_core.train import Epoch, State, Step, fit

OWNER = {"images": "1", "frozen weights": "2"}
STRESS = Path(__file__).parent / "stress"


@pytest.fixture(autouse=True)
def each_epoch(monkeypatch):
    """A checkpoint after every epoch, however short."""
    monkeypatch.setattr(checkpoint, "SHARE", 1.0)


def broken(spec: Spec, root: Path, after: int) -> Run:
    """A run whose process went away after so many epochs, as `kill -9` leaves it."""
    run = new_run(spec, root)
    work = execute.execute(run)
    next(r for r in work if isinstance(r, Epoch) and r.epoch == after)
    kept = {file: file.read_bytes() for file in run.folder.rglob("*") if file.is_file()}
    work.close()
    for file, data in kept.items():
        file.write_bytes(data)
    status = json.loads((run.folder / "status.json").read_text())
    (run.folder / "status.json").write_text(json.dumps(status | {"process": "999999999-gone"}))
    return run


def equal(run: Run, whole: Run) -> bool:
    """The same history, times aside, predictions and learned numbers, within 1e-5."""
    histories = [[told(e) for e in r.history] for r in (run, whole)]
    here, there = (r.classifier().model.state_dict() for r in (run, whole))
    return (
        len(histories[0]) == len(histories[1])
        and np.allclose(histories[0], histories[1], atol=1e-5)
        and np.abs(run.array("logits") - whole.array("logits")).max() < 1e-5
        and all((here[name] - there[name]).abs().max() < 1e-5 for name in there)
    )


def test_a_broken_run_goes_on_to_what_it_would_have_been(small_spec, finished_run, tmp_path):
    run = broken(small_spec, tmp_path, after=1)
    assert (run.status["state"], run.finished, run.unfinished) == ("interrupted", False, True)
    assert run.classifier().classes == ("a", "b", "c")  # the best so far can be used at once
    resume(run.folder)
    assert equal(run, finished_run) and run.status["resumed_after"] == 1 and not run.unfinished
    assert {f.name for f in run.folder.iterdir()} == {f.name for f in finished_run.folder.iterdir()}
    assert run.status["seconds"].keys() == finished_run.status["seconds"].keys()
    assert run.status.keys() - finished_run.status.keys() == {"resumed_after"}


def test_half_a_line_and_epochs_after_the_checkpoint_are_done_again(small_spec, finished_run, tmp_path):
    run = broken(small_spec, tmp_path, after=1)
    lines = (finished_run.folder / "history.jsonl").read_text().splitlines(keepends=True)
    (run.folder / "history.jsonl").write_text(lines[0] + lines[1] + lines[2][:30])
    assert [e.epoch for e in run.history] == [1, 2]
    (run.folder / "status.json.part").write_text("{")
    assert equal(resume(run.folder), finished_run) and not list(run.folder.glob("*.part"))


def test_broken_after_the_last_epoch_it_is_only_tested(small_spec, finished_run, tmp_path):
    run = broken(small_spec, tmp_path, after=3)
    steps = [r for r in execute.execute(run) if isinstance(r, Step)]
    assert steps == [] and equal(run, finished_run)


def test_it_goes_on_with_the_same_parts_of_batches_whatever_memory_is_free(small_spec, tmp_path, monkeypatch):
    spec = replace(small_spec, options={"prompts": 2, "dropout": 0.3})
    with monkeypatch.context() as little:
        little.setattr(execute, "images_at_once", lambda *args: 2)
        whole, run = tune(spec, tmp_path / "whole"), broken(spec, tmp_path, after=1)
    resume(run.folder)
    assert equal(run, whole) and run.status["images_at_once"] == 2
    assert not equal(tune(spec, tmp_path / "roomy"), whole)  # the parts do matter


def test_it_goes_on_in_the_same_ways_whatever_is_faster_now(small_spec, finished_run, tmp_path, monkeypatch):
    with monkeypatch.context() as then:
        then.setattr(execute, "choose_how", lambda precision, before: How(True, PRODUCTS))
        run = broken(small_spec, tmp_path, after=1)
    resume(run.folder)
    assert equal(run, finished_run) and finished_run.status["how"] == asdict(How())
    assert run.status["how"] == {"lean": True, "attention": "products", "packed": False}
    assert run.status["path"] == "prompts as keys and values, backward written by hand, attention as plain products"


def test_random_changes_of_images_go_on_too(small_spec, tmp_path):
    spec = replace(small_spec, augment="flip and shift")
    assert equal(resume(broken(spec, tmp_path, after=2).folder), tune(spec, tmp_path / "whole"))


def test_without_a_checkpoint_it_starts_anew(small_spec, finished_run, tmp_path):
    run = broken(small_spec, tmp_path, after=2)
    run.checkpoint.unlink()
    assert run.unfinished and equal(resume(run.folder), finished_run)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_goes_on_as_if_never_broken(method, tmp_path):
    backbone, spec = tiny_backbone(), Spec(epochs=4, batch_size=6, lr=1e-2)
    data = [drain(feed(_model(backbone, method), pictures(labels, seed=k), labels))
            for k, labels in enumerate((labels_of(5), labels_of(3)))]  # fmt: skip
    whole = _model(backbone, method)
    history = [told(r) for r in fit(whole, *data, spec)]
    first = State(_model(backbone, method), spec)
    begun = []
    for record in fit(first.model, *data, spec, state=first):
        begun.append(told(record))
        if isinstance(record, Epoch) and record.epoch == 2:
            save_checkpoint(tmp_path / "c", first, OWNER)
            break
    second = State(_model(backbone, method), spec)
    load_checkpoint(tmp_path / "c", second, OWNER)
    assert begun + [told(r) for r in fit(second.model, *data, spec, state=second)] == history
    assert same(weights(second.model), weights(whole)) and second.seconds > first.seconds


def _model(backbone, method: str) -> Model:
    return Model(backbone, method, FITTING.get(method, {}), classes=3, image_size=SIZE)


def test_a_checkpoint_holds_only_what_is_learned(small_spec, tmp_path):
    run = broken(small_spec, tmp_path, after=1)
    generators = 2 * torch.Generator().get_state().numel()
    assert run.checkpoint.stat().st_size < 4 * 4 * run.status["trained"] + generators + 3000  # weights, best, two moments


def test_a_checkpoint_of_other_images_or_weights_is_refused(small_spec, tmp_path):
    run = broken(small_spec, tmp_path, after=1)
    other = saved_task(tmp_path / "other", each=12)
    (run.folder / "spec.json").write_text(json.dumps(replace(small_spec, task=other).to_json()))
    with pytest.raises(UserError, match="The images changed since this run was broken off"):
        resume(run.folder)
    assert Run(run.folder).status["state"] == "failed" and run.checkpoint.exists()


@pytest.mark.parametrize("damage", [b"", b"x" * 100, "half"])
def test_a_damaged_checkpoint_is_refused(damage, small_spec, tmp_path):
    run = broken(small_spec, tmp_path, after=1)
    run.checkpoint.write_bytes(run.checkpoint.read_bytes()[:2000] if damage == "half" else damage)
    with pytest.raises(UserError, match="The checkpoint of this run cannot be used"):
        resume(run.folder)


def test_only_what_was_broken_off_can_be_gone_on_with(finished_run, small_spec, tmp_path, capsys):
    assert main(["resume", str(finished_run.folder)]) == 2
    assert "is done: nothing is left to do in it" in capsys.readouterr().err
    with pytest.raises(UserError, match="is waiting; wait until it has ended"):
        resume(new_run(small_spec, tmp_path).folder)
    assert main(["resume", str(tmp_path)]) == 2 and "is not the folder of a run" in capsys.readouterr().err


def test_the_command_goes_on_and_predict_needs_no_end(small_spec, finished_run, tmp_path, capsys):
    run = broken(small_spec, tmp_path, after=2)
    (tmp_path / "photo.png").write_bytes(_png())
    assert main(["predict", str(run.folder), str(tmp_path / "photo.png")]) == 0
    assert main(["resume", str(run.folder)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == str(run.folder) and [x for x in lines if x.startswith("epoch ")][0].startswith("epoch 3/3")
    assert equal(run, finished_run)


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pictures(np.zeros(1, np.int64))[0]).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_second_ctrl_c_says_how_to_go_on(small_spec, tmp_path, monkeypatch, capsys):
    real = execute.execute

    def twice(run, stop):
        for record in real(run, stop):
            yield record
            if isinstance(record, Epoch):
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    run = broken(small_spec, tmp_path, after=1)
    monkeypatch.setattr(execute, "execute", twice)
    assert main(["resume", str(run.folder)]) == 130
    said = capsys.readouterr().err
    assert said == f"vpt_core: Broken off. To go on with it: python -m vpt_core resume {run.folder}\n"
    assert run.unfinished


def _no_room(monkeypatch, name: str) -> None:
    """Every write of a file of that name meets a full disk."""
    real = files.os.replace

    def replace_(part, path):
        if Path(path).name == name:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(part, path)

    monkeypatch.setattr(files.os, "replace", replace_)


@pytest.mark.parametrize("name", ["checkpoint.safetensors", "logits.npy", "tuned.safetensors", "test.json"])
def test_a_full_disk_is_a_sentence_and_the_run_can_go_on(name, small_spec, finished_run, tmp_path, monkeypatch):
    with monkeypatch.context() as full:
        _no_room(full, name)
        with pytest.raises(UserError, match="The disk is full. Make room, then go on"):
            tune(small_spec, tmp_path)
    (run,) = list_runs(tmp_path)
    assert run.status["state"] == "failed" and run.status["reason"].startswith("The disk is full")
    assert "ended" not in run.status and not list(run.folder.glob("*.part"))
    assert equal(resume(run.folder), finished_run)


def test_too_little_memory_is_a_sentence(small_spec, tmp_path, monkeypatch):
    def greedy(*args):
        torch.empty(2**60)

    monkeypatch.setattr("vpt_core.execute.feed", greedy)
    with pytest.raises(UserError, match="There is not enough memory for this"):
        tune(small_spec, tmp_path)
    assert list_runs(tmp_path)[0].status["reason"].startswith("There is not enough memory")


@pytest.mark.parametrize("error", [RuntimeError("wrong shape"), OSError(errno.ENOENT, "gone"), ValueError("out of memory")])
def test_other_errors_are_no_shortage(error):
    assert shortage(error) == ""


def test_where_epochs_are_short_not_each_has_a_checkpoint(small_spec, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoint, "SHARE", 1e-6)
    monkeypatch.setattr(checkpoint, "save_checkpoint", lambda path, state, owner: written.append(state.epoch))
    tune(small_spec, tmp_path)
    assert written == [1]


@pytest.mark.slow
def test_kill_9_loses_nothing():
    command = [sys.executable, str(STRESS / "kill_loop.py"), "--kills", "3", "--epochs", "6"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
