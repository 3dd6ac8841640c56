"""Model: one loop over stages, a head drawn first, and only what is learned in its state."""

from __future__ import annotations

import pytest
import torch
from tiny import FITTING, RANDOM, SIZE, labels_of, pictures, tiny_backbone

from vpt_core.backbones import load_backbone, to_pixels
from vpt_core.errors import UserError
from vpt_core.methods import METHODS, prompt
from vpt_core.model import Model

PIXELS = to_pixels(pictures(labels_of(2)))


def test_the_linear_probe_is_the_backbone_and_a_head():
    backbone = tiny_backbone()
    model = Model(backbone, "linear", {}, classes=4)
    assert torch.allclose(model.run(PIXELS), backbone(PIXELS), rtol=1e-5, atol=1e-6)
    assert torch.allclose(model(PIXELS), backbone(PIXELS) @ model.head.weight.T + model.head.bias, rtol=1e-5, atol=1e-6)
    assert model.trained == 4 * 33 and list(model.state_dict()) == ["head.weight", "head.bias"]


@pytest.mark.parametrize("name", [name for name in METHODS if name != "sidetune"])  # which needs the pixels to the end
def test_a_run_can_be_broken_at_every_stage(name):
    model = Model(tiny_backbone(), name, FITTING.get(name, {}), classes=3).eval()
    whole, logits = model.run(PIXELS), model(PIXELS)
    for cut in range(len(model.method.stages) + 1):
        part = model.run(PIXELS, 0, cut)
        for found, expected in (model.run(part, cut), whole), (model(part, cut), logits):
            assert torch.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_head_of_a_seed_is_the_same_for_every_method():
    backbone = tiny_backbone()
    heads = [Model(backbone, name, FITTING.get(name, {}), classes=3, seed=7).head for name in METHODS]
    other = Model(backbone, "linear", {}, classes=3, seed=8).head
    assert all(torch.equal(head.weight, heads[0].weight) and head.bias.eq(0).all() for head in heads)
    assert not torch.equal(other.weight, heads[0].weight)
    assert 0.005 < heads[0].weight.std() < 0.015


def test_a_seed_draws_the_first_weights_whatever_was_drawn_before():
    backbone = tiny_backbone()
    models = []
    for state in (1, 2):
        torch.manual_seed(state)
        models.append(Model(backbone, "vpt-deep", {}, classes=3, seed=5))
    a, b = (model.state_dict() for model in models)
    assert all(torch.equal(a[key], b[key]) for key in a)
    assert not torch.equal(a["method.prompts"], Model(backbone, "vpt-deep", {}, 3, seed=6).state_dict()["method.prompts"])


def test_models_share_the_backbone_and_do_not_own_it():
    backbone = load_backbone(RANDOM)
    one, two = (Model(backbone, name, {}, classes=2) for name in ("vpt-deep", "linear"))
    assert one.backbone is two.backbone is backbone
    owned = {id(p) for p in one.parameters()} | {id(m) for m in one.modules()}
    assert not owned & ({id(p) for p in backbone.parameters()} | {id(m) for m in backbone.modules()})
    one.train()
    assert not backbone.training and not any(m.training for m in backbone.modules())


def test_what_cannot_be_built_is_refused():
    backbone = tiny_backbone()
    with pytest.raises(UserError, match="There is no method 'vpt-deap'. Did you mean 'vpt-deep'"):
        Model(backbone, "vpt-deap", {}, classes=2)
    with pytest.raises(UserError, match="Linear probe .linear. has no option 'prompts'; it has no options"):
        Model(backbone, "linear", {"prompts": 3}, classes=2)
    with pytest.raises(UserError, match="Prompt tokens is 501; it has to be from 0 to 500"):
        Model(backbone, "vpt-deep", {"prompts": 501}, classes=2)


def test_prompts_stand_beside_a_token_for_each_patch():
    model = Model(tiny_backbone(), "vpt-shallow", {"prompts": 7}, classes=2).eval()
    tokens = model.run(PIXELS, 0, 2)
    assert tokens.shape == (6, 1 + 7 + (SIZE // 16) ** 2, 32)


@torch.no_grad()
def test_prompts_become_keys_and_values_once_for_inference(monkeypatch):
    model = Model(tiny_backbone(), "vpt-deep", {"prompts": 3}, classes=3).eval()
    computed: list[int] = []
    inner = prompt.keys_and_values
    monkeypatch.setattr(prompt, "keys_and_values", lambda *given: computed.append(1) or inner(*given))
    first, depth = model(PIXELS), model.backbone.depth
    assert torch.equal(model(PIXELS), first) and len(computed) == depth
    model.method.prompts.mul_(2)
    changed = model(PIXELS)
    assert len(computed) == 2 * depth and not torch.allclose(changed, first)
    model.method.prompts = torch.nn.Parameter(model.method.prompts / 2)
    assert torch.allclose(model(PIXELS), first, atol=1e-6)
