"""What a run keeps of its epochs: the model as it was then, within bounds, also when it was broken off on the way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from test_resume import broken

from vpt_core import checkpoint, epochs
from vpt_core.backbones import load_backbone, to_pixels
from vpt_core.execute import execute, resume, tune
from vpt_core.prompt_file import load_prompt
from vpt_core.runs import new_run
from vpt_core.tasks import load_task
from vpt_core.train import Epoch, Step


def features(run, file):
    """What the model of a kept epoch sees of the test images."""
    task = load_task(run.spec.task)
    pixels = task.resized(run.spec.image_size)[task.splits(run.spec.seed, run.spec.shots).test]
    model = load_prompt(file, load_backbone(run.spec.backbone)).model
    with torch.no_grad():
        return model.run(to_pixels(pixels)).numpy()


def contents(run):
    return {number: file.read_bytes() for number, file in run.epochs.items()}


def test_the_kept_best_epoch_is_what_was_tuned(finished_run):
    kept = finished_run.epochs
    assert list(kept) == [1, 2, 3]
    seen = {number: features(finished_run, file) for number, file in kept.items()}
    assert np.allclose(seen[finished_run.status["best_epoch"]], finished_run.array("features"), atol=1e-5)
    assert all(np.abs(seen[a] - seen[b]).max() > 1e-4 for a, b in ((1, 2), (2, 3), (1, 3)))


def test_a_broken_run_ends_with_the_same_epochs(small_spec, finished_run, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARE", 1.0)
    run = broken(small_spec, tmp_path, after=2)
    assert list(run.epochs) == [1, 2]
    first = contents(run)[1]
    resume(run.folder)
    assert contents(run) == contents(finished_run) and contents(run)[1] == first


def test_what_a_broken_training_kept_after_its_checkpoint_goes(small_spec, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "SHARE", 1.0)
    run = broken(replace(small_spec, epochs=6), tmp_path, after=2)
    (run.folder / "epochs" / "003.safetensors").write_bytes(b"of a training that is gone")
    (run.folder / "epochs" / "004.safetensors.part").write_bytes(b"half")
    told = []
    for record in execute(run, lambda: any(isinstance(r, Step) for r in told)):
        told.append(record)
    assert run.status["state"] == "stopped" and not any(isinstance(r, Epoch) for r in told)
    assert [file.name for file in sorted((run.folder / "epochs").iterdir())] == ["001.safetensors", "002.safetensors"]


def test_where_there_is_no_room_every_kth_epoch_is_kept(small_spec, finished_run, tmp_path, monkeypatch):
    size = max(map(len, contents(finished_run).values()))
    monkeypatch.setattr(epochs, "MOST_BYTES", 2 * size + 100)
    monkeypatch.setattr(epochs, "MOST_EACH", size + 100)
    run = tune(replace(small_spec, epochs=5), tmp_path)
    assert list(run.epochs) == [3] and sum(map(len, contents(run).values())) <= epochs.MOST_BYTES
    monkeypatch.setattr(epochs, "MOST_EACH", size // 2)
    assert tune(small_spec, tmp_path).epochs == {}


@pytest.mark.parametrize("size, asked, expected", [(200_000, 10, 1), (200_000, 83, 1), (200_000, 84, 2), (4 * 1024**2, 10, 3),
                                                   (4 * 1024**2 + 1, 10, 0)])  # fmt: skip
def test_the_bound(size, asked, expected):
    assert epochs.every(size, asked) == expected
    assert not expected or asked // expected * size <= epochs.MOST_BYTES


def test_the_size_is_foretold(finished_run):
    classifier = finished_run.classifier()
    size = finished_run.epochs[1].stat().st_size
    assert 0.9 * size < epochs.file_bytes(classifier.model, classifier.about) < 1.2 * size


def test_features_that_stay_are_not_kept(small_spec, tmp_path):
    run = new_run(replace(small_spec, method="linear", options={}), tmp_path)
    assert len([r for r in execute(run) if isinstance(r, Epoch)]) == 3 and run.epochs == {}
    assert not (run.folder / "epochs").exists()
