"""bfloat16: chosen where it pays, weights cast once, everything that is learned in float32."""

from __future__ import annotations

import pytest
import torch
from tiny import FITTING, PLAIN, RANDOM, SIZE, labels_of, pictures, saved_task, tiny_backbone, training
from torch import Tensor, nn
from torch.nn import functional as F

from vpt_core import METHODS, Spec, precision, tune
from vpt_core.backbones import load_backbone, to_pixels
from vpt_core.methods.attending import PRODUCTS
from vpt_core.methods.how import How
from vpt_core.methods.packing import can_pack
from vpt_core.model import Model
from vpt_core.precision import BFLOAT16, FLOAT32, choose_precision
from vpt_core.tasks import load_task

PACKED = pytest.param(How(packed=True), marks=pytest.mark.skipif(not can_pack(torch.bfloat16), reason="not on this processor"))
EVERY = pytest.mark.parametrize("method", METHODS)


def _matrices(module: nn.Module) -> list[Tensor]:
    return [part.weight for part in module.modules() if isinstance(part, nn.Linear | nn.Conv2d)]


@pytest.mark.parametrize(("gain", "chosen"), [(0.1, FLOAT32), (1.2, FLOAT32), (1.4, BFLOAT16)])
def test_auto_takes_what_is_faster_here(gain, chosen, monkeypatch):
    monkeypatch.setattr(precision, "bfloat16_gain", lambda device: gain)
    assert choose_precision("auto") == chosen
    assert choose_precision(FLOAT32) == FLOAT32 and choose_precision(BFLOAT16) == BFLOAT16


def test_the_gain_is_tried_once(monkeypatch):
    seconds = {torch.float32: 0.2, torch.bfloat16: 0.1}
    tried = []
    monkeypatch.setattr(precision, "_seconds", lambda x, weight: tried.append(x.dtype) or seconds[x.dtype])
    precision.bfloat16_gain.cache_clear()
    assert precision.bfloat16_gain() == precision.bfloat16_gain() == 2.0
    assert tried == [torch.float32, torch.bfloat16]
    precision.bfloat16_gain.cache_clear()


def test_weights_are_cast_once_and_only_those_of_products():
    backbone = tiny_backbone()
    before = [w.clone() for w in _matrices(backbone)]
    rounded = backbone.rounded
    assert backbone.rounded is rounded and rounded.weights_hash == backbone.weights_hash
    assert all(w.dtype == torch.bfloat16 for w in _matrices(rounded))
    low = {id(w) for w in _matrices(rounded)}
    assert all(p.dtype == torch.float32 for p in rounded.parameters() if id(p) not in low)
    assert all(torch.equal(a, b) for a, b in zip(before, _matrices(backbone), strict=True))
    assert "rounded" not in vars(backbone.twin()) and backbone.twin().rounded is not rounded


@pytest.mark.slow
@EVERY
def test_every_method_learns_in_it_and_learns_float32(method):
    options = {"vpt-deep": {"dropout": 0.0}, "mlp": {"dropout": 0.0}, **FITTING}.get(method, {})
    model = Model(tiny_backbone(), method, options, classes=3, image_size=SIZE, precision=BFLOAT16)
    frozen = {id(w) for w in _matrices(model.backbone)}
    list(training(model, Spec(method=method, epochs=60, batch_size=12, lr=3e-3), each=4, val=0))
    pixels, labels = to_pixels(pictures(labels_of(4))), labels_of(4)
    logits = model.eval()(pixels)
    assert logits.dtype == torch.float32 and (logits.argmax(1).numpy() == labels).all()
    assert all(p.dtype == torch.float32 and id(p) not in frozen for p in model.parameters())
    assert METHODS[method].rounds == all(w.dtype == torch.bfloat16 for w in _matrices(model.backbone))


def _gradients(how: dict[str, bool | How], outside: bool = False, **rest: str) -> list[Tensor]:
    model = Model(load_backbone("vit-s14-saliency"), "vpt-deep", {"prompts": 4, "dropout": 0.0}, 3, image_size=56, **rest)
    vars(model.method).update(how)
    with torch.no_grad():
        model.head.weight.mul_(30)  # at its first values next to nothing flows back to the prompts
    labels = labels_of(1)
    with torch.autocast("cpu", torch.bfloat16, enabled=outside):
        loss = F.cross_entropy(model(to_pixels(pictures(labels, 56))).float(), torch.from_numpy(labels))
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.slow
@pytest.mark.parametrize("how", [How(), How(lean=True), How(attention=PRODUCTS), PACKED], ids=str)
def test_gradients_are_as_good_as_those_of_autocast(how):
    exact = _gradients(PLAIN)
    theirs, ours = _gradients(PLAIN, outside=True), _gradients({"how": how}, precision=BFLOAT16)

    def error(found: list[Tensor]) -> Tensor:
        return torch.stack([(a - b).norm() / b.norm() for a, b in zip(found, exact, strict=True)])

    assert error(theirs).max() > 1e-3  # it was rounded
    assert (error(ours) <= 1.5 * error(theirs).clamp(min=1e-4)).all(), (error(ours), error(theirs))


def test_a_run_records_it_and_is_tested_in_float32(tmp_path):
    task = saved_task(tmp_path / "task")
    spec = Spec(task=task, backbone=RANDOM, image_size=SIZE, method="vpt-deep", epochs=2, precision=BFLOAT16)
    run = tune(spec, tmp_path / "runs")
    assert run.status["precision"] == BFLOAT16
    said = run.classifier().logits(_test_images(run, task))
    assert torch.allclose(torch.from_numpy(said), torch.from_numpy(run.array("logits")), atol=1e-5)
    exact = tune(Spec(**{**spec.to_json(), "precision": FLOAT32}), tmp_path / "runs")
    assert exact.status["precision"] == FLOAT32
    assert [e.loss for e in exact.history] != [e.loss for e in run.history]  # it was computed in another way
    assert [e.loss for e in exact.history] == pytest.approx([e.loss for e in run.history], rel=0.02)


def _test_images(run, task):
    loaded = load_task(task)
    return loaded.resized(SIZE)[loaded.splits(run.spec.seed, run.spec.shots).test]
