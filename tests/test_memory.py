"""Memory that a step takes, and batches that go through in parts where it is short."""

from __future__ import annotations

import pytest
import torch
from tiny import FITTING, RANDOM, labels_of, pictures, saved_task, tiny_backbone

from vpt_core import execute, memory
from vpt_core.embed import Feed, drain, feed
from vpt_core.memory import available, held, images_at_once
from vpt_core.methods import METHODS
from vpt_core.model import Model
from vpt_core.spec import Spec
from vpt_core.train import Step, fit

DEEP = {"prompts": 4, "dropout": 0.0}


def _model(method: str = "vpt-deep", **options) -> Model:
    options = options or {"vpt-deep": DEEP, "mlp": {"dropout": 0.0}, **FITTING}.get(method, {})
    return Model(tiny_backbone(), method, options, classes=3, image_size=32)


def _data(model: Model) -> Feed:
    labels = labels_of(4)
    return drain(feed(model, pictures(labels), labels))


@pytest.mark.parametrize("method", [name for name, kind in METHODS.items() if kind.divisible])
def test_a_batch_in_parts_is_the_same_step(method):
    learned = []
    for at_once in (None, 5):
        model = _model(method)
        steps = [r.loss for r in fit(model, _data(model), Feed(pictures(labels_of(0)), torch.tensor([]), 0),
                                     Spec(epochs=1, batch_size=12), at_once=at_once) if isinstance(r, Step)]
        learned.append((steps, [p.grad for p in model.parameters()]))  # AdamW's first step is hardly more than their signs
    (whole, gradients), (parts, others) = learned
    assert parts == pytest.approx(whole, rel=1e-5)
    assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-5 * b.abs().max()) for a, b in zip(gradients, others, strict=True))


def test_what_is_held_grows_with_the_images_and_with_what_learns():
    model = _model()
    data = _data(model)
    one, two, three = (held(model, data, n) for n in (1, 2, 3))
    assert one > 0 and two - one == pytest.approx(three - two, rel=0.02)
    linear = _model("linear")
    assert held(linear, _data(linear), 3) < one / 10
    late = _model(layers="4", **DEEP)
    assert held(late, Feed(data.x, data.labels, 0), 3) < 0.4 * three


def test_no_number_is_drawn_by_looking():
    model = _model("vpt-deep", prompts=4, dropout=0.5)
    before = model.method.generator.get_state()
    held(model, _data(model), 2)
    assert torch.equal(model.method.generator.get_state(), before)


def test_images_go_at_once_as_far_as_there_is_room():
    model = _model()
    data = _data(model)
    one = held(model, data, 1)
    each = held(model, data, 2) - one
    assert images_at_once(model, data, 8, 2**40) == 8 and not model.method.how.lean
    assert images_at_once(model, data, 100, 2**40) == len(data)
    assert images_at_once(model, data, 8, one + 6 * each) == 8 and model.method.how.lean  # by holding less
    assert images_at_once(model, data, 8, 0) == 1
    assert images_at_once(_model("mlp"), data, 8, 0) == 8  # it has statistics of the batch
    shallow = _model("lora")
    one = held(shallow, _data(shallow), 1)
    assert images_at_once(shallow, _data(shallow), 8, 3 * one) == 3


def test_free_memory_is_what_the_machine_and_a_container_leave(tmp_path, monkeypatch):
    assert 2**20 < available() < 2**50
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    assert available() == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert available() > 2**20


def test_a_run_on_a_small_machine_goes_in_parts_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "available", lambda device: 0)
    spec = Spec(task=saved_task(tmp_path / "task"), backbone=RANDOM, image_size=32, epochs=1, options=DEEP)
    status = execute.tune(spec, tmp_path / "runs").status
    assert status["images_at_once"] == 1 and status["how"]["lean"] and status["state"] == "done"
    assert status["path"] == "prompts as keys and values, backward written by hand"
