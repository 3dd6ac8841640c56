"""Features after each layer: those of timm's own blocks, whatever the method, and the model's own at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from test_families import family, model_of
from tiny import FITTING, KINDS, SIZE, tiny_backbone

from vpt_core.analysis import before_tuning, follow, read_layers
from vpt_core.embed import drain
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.model import Model

PIXELS = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
ALL = (1, 2, 3, 4)


def model(method: str, changes: dict[str, Any] | None = None, **options: Any) -> Model:
    built = Model(tiny_backbone(**changes or {}), method, FITTING.get(method, {}) | options, 3, 0, SIZE)
    with torch.no_grad():  # what begins at 0 would hide that it is left out
        for p in built.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)), alpha=0.1)
    return built.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_frozen_model_is_timms_own_up_to_each_layer(kind: str):
    linear = model("linear", KINDS[kind])
    net, found = linear.backbone.net, read_layers(linear, PIXELS, ALL)
    with torch.no_grad():
        whole = net.blocks
        for layer in ALL:  # timm's own model, cut off there
            net.blocks = whole[:layer]
            assert torch.allclose(found[layer - 1], linear.backbone(PIXELS), atol=1e-5)
        net.blocks = whole


@pytest.mark.parametrize("method", [name for name in METHODS if name != "sidetune"])
def test_the_last_layer_is_what_the_classifier_reads(method: str):
    tuned = model(method)
    with torch.no_grad():
        assert torch.allclose(read_layers(tuned, PIXELS, ALL)[-1], tuned.run(PIXELS), atol=1e-5)


@pytest.mark.parametrize("options", [{"layers": "2"}, {"layers": "1,3"}, {"readout": "mean"}, {"layers": "3,4"}])
def test_prompts_are_left_out_wherever_they_stand(options: dict[str, Any]):
    """Before the first prompted layer nothing differs from the frozen model, from there on everything does."""
    tuned = model("vpt-deep", prompts=3, **options)
    frozen = read_layers(Model(tuned.backbone, "vpt-deep", {"prompts": 0} | options, 3, 0, SIZE), PIXELS, ALL)
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(read_layers(tuned, PIXELS, ALL), frozen, strict=True)]
    first = min(tuned.method.layers)
    assert same == [layer < first for layer in ALL]


def test_layers_are_followed_state_by_state():
    tuned = model("vpt-deep", prompts=2)
    pixels = (PIXELS.permute(0, 2, 3, 1).numpy() * 255).astype(np.uint8)
    states = [before_tuning(tuned), tuned]
    every, last = drain(follow(states, pixels, 2, (2, 4))), drain(follow(states, pixels, 2))
    assert every.shape == (2, 2, 2, 32) and np.allclose(every[:, 1], last, atol=1e-5)


def test_what_has_no_such_layer_is_refused_in_words():
    with pytest.raises(UserError, match="no layer 5"):
        read_layers(model("linear"), PIXELS, (5,))
    with pytest.raises(UserError, match="from the prompts"):
        read_layers(model("vpt-deep", readout="prompts"), PIXELS, (1,))
    with pytest.raises(UserError, match="same width in all layers"):
        read_layers(model_of(family("swin_base_patch4_window7_224"), "linear"), PIXELS, (1,))
