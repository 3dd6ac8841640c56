"""The device: torch's "meta" stands in for a GPU. It computes nothing, but refuses tensors of another device as a GPU does."""

from __future__ import annotations

import pytest
import torch
from test_families import TIMM, family, model_of
from tiny import labels_of, pictures, same, tiny_backbone, weights
from torch.nn import functional as F

from vpt_core.backbones import to_pixels
from vpt_core.device import CPU, device
from vpt_core.errors import UserError
from vpt_core.methods import METHODS

META = torch.device("meta")


@pytest.mark.parametrize("name", ["registers", *TIMM])
@pytest.mark.parametrize("method", METHODS)
def test_a_step_stays_on_the_backbones_device(name, method):
    model = model_of(family(name).on(META), method)
    before = {key: t.shape for key, t in model.state_dict().items()}
    images, labels = pictures(labels_of(2), 64), torch.from_numpy(labels_of(2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    logits = model.train()(to_pixels(images))
    F.cross_entropy(logits, labels.to(logits.device)).backward()
    optimizer.step()
    assert logits.device == META
    assert all(p.grad is not None and p.grad.device == META for p in model.parameters())
    assert {key: t.shape for key, t in model.state_dict().items()} == before


def test_the_backward_written_by_hand_is_the_processors():
    here, there = (model_of(tiny_backbone().on(where), "vpt-deep").method for where in (CPU, META))
    assert here.by_hand and there.keyed and not there.by_hand
    assert there.path == "prompts as keys and values" != here.path


def test_a_backbone_is_moved_once_and_stays_where_it_was():
    backbone = tiny_backbone()
    before = weights(backbone)
    moved = backbone.on(META)
    assert backbone.on(META) is moved and backbone.on(CPU) is backbone and moved.on(META) is moved
    assert moved.device == META and backbone.device == CPU and same(weights(backbone), before)
    assert moved.weights_hash == backbone.weights_hash
    assert backbone.twin()._elsewhere == {} and backbone.twin().device == CPU


def test_the_device_is_named_by_the_environment(monkeypatch):
    monkeypatch.delenv("VPT_DEVICE", raising=False)
    assert device() == CPU
    monkeypatch.setenv("VPT_DEVICE", "meta")
    assert device() == META


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name, monkeypatch):
    monkeypatch.setenv("VPT_DEVICE", name)
    with pytest.raises(UserError, match=f"VPT_DEVICE is '{name}'"):
        device()
