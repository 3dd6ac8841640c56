"""Knock-out: exact, whatever the prompts are, and the sentence says what the numbers say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from tiny import KINDS, labels_of, pictures, tiny_backbone

from vpt_core.analysis import load_knockout, save_knockout
from vpt_core.analysis.knockout import EACH, LAYERS, THROUGHOUT, knock_out, removals
from vpt_core.backbones import Backbone, to_pixels
from vpt_core.embed import drain
from vpt_core.errors import UserError
from vpt_core.model import Model

LABELS = labels_of(2)
IMAGES = pictures(LABELS)  # 6 images, 2 x 2 patches
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "deep": ("vpt-deep", {}), "some layers": ("vpt-deep", {"layers": "2,4"}), "shallow": ("vpt-shallow", {}),
    "mean": ("vpt-deep", {"readout": "mean"}), "shared": ("vpt-deep", {"shared": True}),
}


def tuned(method: str = "vpt-deep", backbone: Backbone | None = None, prompts: int = 3, **options: Any) -> Model:
    """A model whose prompts and head are drawn large, so that each prompt matters."""
    model = Model(backbone or tiny_backbone(), method, {"prompts": prompts, **options}, classes=3, image_size=32).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(2 * torch.randn(p.shape, generator=generator))
    return model


def logits(model: Model) -> np.ndarray:
    with torch.no_grad():
        return model(to_pixels(IMAGES)).numpy()


@pytest.mark.parametrize("case", CASES)
def test_a_prompt_taken_from_all_layers_is_a_model_with_one_less(case: str):
    method, options = CASES[case]
    model = tuned(method, **options)
    found = drain(knock_out(model, IMAGES, LABELS, THROUGHOUT))
    assert np.allclose(found.whole, logits(model), atol=1e-4)
    for k in range(3):
        smaller = tuned(method, prompts=2, **options)
        weights = {name: t.clone() for name, t in model.state_dict().items()}
        weights["method.prompts"] = weights["method.prompts"][:, [j for j in range(3) if j != k]]
        smaller.load_state_dict(weights)
        assert np.allclose(found.without[k], logits(smaller), atol=1e-4)
        assert not np.allclose(found.without[k], found.whole, atol=1e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_one_layer_of_deep_prompts_by_hand(kind: str):
    """The plain loop with the tokens of one layer left out: as queries, keys and values."""
    model = tuned(backbone=tiny_backbone(**KINDS[kind]))
    method, backbone = model.method, model.backbone
    every = removals(model, EACH)
    found = drain(knock_out(model, IMAGES, LABELS))
    assert [(one.layer, one.prompt) for one in every] == [(i, k) for i in range(1, 5) for k in range(1, 4)]
    n = backbone.num_prefix_tokens
    for v in (0, 5, 11):
        gone = every[v]
        with torch.no_grad():
            x = backbone.stem(to_pixels(IMAGES))
            for i in range(1, 5):
                own = method.prompts[i - 1]
                if i == gone.layer:
                    own = own[[j for j in range(3) if j != gone.prompt - 1]]
                out = backbone.blocks[i - 1](torch.cat([x[:, :n], own.expand(len(x), -1, -1), x[:, n:]], dim=1))
                x = torch.cat([out[:, :n], out[:, n + len(own) :]], dim=1)
            expected = model.head(backbone.pool(x)).numpy()
        assert np.allclose(found.without[v], expected, atol=1e-4)


def test_all_prompts_of_all_layers_gone_is_the_frozen_model():
    model = tuned(layers="3")
    found = drain(knock_out(model, IMAGES, LABELS, LAYERS))
    with torch.no_grad():
        expected = model.head(model.backbone(to_pixels(IMAGES))).numpy()
    assert found.without.shape == (2, 6, 3) and np.allclose(found.without[0], expected, atol=1e-4)


def test_a_carried_prompt_is_gone_from_there_on():
    model = tuned("vpt-shallow")
    assert removals(model, EACH)[4].where == {2: (1,), 3: (1,), 4: (1,)}
    found = drain(knock_out(model, IMAGES, LABELS))
    with torch.no_grad():
        x = model.method.before(1, model.backbone.stem(to_pixels(IMAGES)))
        x = model.backbone.blocks[0](x)
        x = x[:, [0, 1, 3, *range(4, x.shape[1])]]  # [CLS], prompts 1 and 3, patches
        for block in model.backbone.blocks[1:]:
            x = block(x)
        expected = model.head(model.backbone.pool(x)).numpy()
    assert np.allclose(found.without[4], expected, atol=1e-4)


def test_attention_is_that_of_the_removed_prompts():
    from vpt_core.analysis import read_attention
    model = tuned()
    found = drain(knock_out(model, IMAGES, LABELS))
    seen = read_attention(model, IMAGES[3])
    assert found.attention.shape == (12, 6)
    assert found.attention[:, 3] == pytest.approx(np.concatenate([p.mean(axis=0) for p in seen.to_prompts]), abs=1e-5)
    whole = drain(knock_out(model, IMAGES, LABELS, LAYERS)).attention
    assert whole == pytest.approx(found.attention.reshape(4, 3, 6).sum(axis=1), abs=1e-5)


def test_numbers_follow_from_the_logits():
    found = drain(knock_out(tuned(), IMAGES, LABELS))
    right = (found.whole.argmax(1) == LABELS).sum()
    v = int(np.argmax(found.changed))
    assert found.accuracy[v] == (found.without[v].argmax(1) == LABELS).sum() - right
    log = torch.log_softmax(torch.from_numpy(found.without[v]), 1).numpy()[np.arange(6), LABELS]
    before = torch.log_softmax(torch.from_numpy(found.whole), 1).numpy()[np.arange(6), LABELS]
    assert np.allclose(found.log_probability[v], log - before, atol=1e-4)


def test_progress_and_stop():
    model, seen = tuned(), []
    work = knock_out(model, IMAGES, LABELS, EACH, np.arange(10, 16), stop=lambda: len(seen) > 5)
    while True:
        try:
            seen.append(next(work))
        except StopIteration as end:
            found = end.value
            break
    assert seen[:5] == [(12, 72), (24, 72), (36, 72), (48, 72), (54, 72)]
    assert found.images.tolist() == [10, 11, 12, 13] and found.without.shape == (12, 4, 3)
    assert np.allclose(found.whole, logits(model)[:4], atol=1e-4) and torch.is_grad_enabled()
    with pytest.raises(UserError, match="no images of which all knock-outs are done"):
        drain(knock_out(model, IMAGES, LABELS, stop=lambda: True))


@pytest.mark.parametrize("method, options, said", [
    ("linear", {}, "has no prompt tokens"), ("vpt-shallow", {"place": "add"}, "has no prompt tokens"),
    ("vpt-deep", {"prompts": 0}, "has no prompt tokens"), ("vpt-shallow", {"readout": "prompts"}, "read from the prompts"),
])  # fmt: skip
def test_what_has_nothing_to_take_away_is_refused(method: str, options: dict[str, Any], said: str):
    with pytest.raises(UserError, match=said):
        removals(Model(tiny_backbone(), method, options, classes=3, image_size=32))


def test_a_knock_out_is_the_same_after_a_file(tmp_path):
    found = drain(knock_out(tuned(), IMAGES, LABELS, LAYERS, np.arange(10, 16)))
    save_knockout(found, tmp_path / "k.safetensors")
    again = load_knockout(tmp_path / "k.safetensors")
    assert again.removals == found.removals
    for name in ("images", "labels", "whole", "without", "attention"):
        assert np.array_equal(getattr(again, name), getattr(found, name))


FOREIGN = {"images": np.zeros(2)}


@pytest.mark.parametrize("data", [b"", b"no tensors", save(FOREIGN), save(FOREIGN, {"removals": "1"})])
def test_a_damaged_file_is_said(tmp_path, data):
    (tmp_path / "k.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="k.safetensors holds no knock-out, or is damaged"):
        load_knockout(tmp_path / "k.safetensors")
