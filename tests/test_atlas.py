"""The atlas is the mean of what single images say; rollout against a plain product; patches near to prompts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny import KINDS, labels_of, pictures, tiny_backbone
from torch.nn import functional as F

from vpt_core.analysis import atlas as atlas_module
from vpt_core.analysis import attention_weights, find_near, read_atlas, read_attention
from vpt_core.analysis.attention import entering, queries_and_keys, record
from vpt_core.backbones import to_pixels
from vpt_core.embed import drain
from vpt_core.errors import UserError
from vpt_core.model import Model

LABELS = labels_of(3)
IMAGES = pictures(LABELS, 48)  # 9 images, 3 x 3 patches
CASES = {"linear": ("linear", {}), "shallow": ("vpt-shallow", {"prompts": 3}), "deep": ("vpt-deep", {"prompts": 3}),
         "layers 2,4": ("vpt-deep", {"prompts": 3, "layers": "2,4"})}


def built(case: str, **changes: object) -> Model:
    method, options = CASES[case]
    model = Model(tiny_backbone(**changes), method, options, classes=3).eval()
    if case != "linear":
        torch.nn.init.normal_(model.method.prompts, generator=torch.Generator().manual_seed(2))
    return model


@pytest.mark.parametrize("case", CASES)
def test_the_atlas_is_the_mean_of_its_images(case, monkeypatch):
    monkeypatch.setattr(atlas_module, "BATCH", 4)  # batches cut through classes
    model = built(case)
    work, steps = read_atlas(model, IMAGES, LABELS), []
    while True:
        try:
            steps.append(next(work))
        except StopIteration as end:
            found = end.value
            break
    assert steps == [4, 8, 9] and set(found) == {None, 0, 1, 2}
    singles = [read_attention(model, image) for image in IMAGES]
    for key, members in {None: range(9), 1: range(3, 6)}.items():
        one = found[key]
        assert one.images == len(members) and one.query == "[CLS]"
        for name in ("patches", "to_self", "rollout", "rolled"):
            values = np.stack([getattr(singles[i], name) for i in members]).astype(np.float64)
            assert np.allclose(getattr(one.mean, name), values.mean(axis=0), atol=1e-5)
            assert np.allclose(getattr(one.spread, name), values.std(axis=0), atol=1e-4)
        for layer, count in enumerate(one.prompts):
            for name in ("to_prompts", "received", "prompt_rows"):
                values = np.stack([getattr(singles[i], name)[layer] for i in members])
                assert np.allclose(getattr(one.mean, name)[layer, :, :count], values.mean(axis=0), atol=1e-5)
            shares = np.array([singles[i].to_prompts[layer].sum(axis=1).mean() for i in members])
            assert one.mean.share[layer] == pytest.approx(shares.mean(), abs=1e-5)
            assert one.spread.share[layer] == pytest.approx(shares.std(), abs=1e-4)
        total = one.mean.patches.sum(axis=(2, 3)) + one.mean.to_prompts.sum(axis=2) + one.mean.to_self
        assert np.allclose(total, 1, atol=1e-5)
        assert np.allclose(one.mean.rollout.sum(axis=(1, 2)) + one.mean.rolled.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", ["shallow", "deep", "layers 2,4"])
def test_every_row_is_what_timm_uses(case, kind):
    """All rows, prompts' among them, from the tokens that the plain loop gives to timm's blocks without the fused kernel."""
    model = built(case, **KINDS[kind])
    seen = []
    for block in model.backbone.net.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    x = to_pixels(IMAGES)
    for i, stage in enumerate(model.method.stages[:-1]):
        x = stage(model.method.before(i, x))
    expected = list(seen)
    for layer, weights in zip(record(model, IMAGES), expected, strict=True):
        assert torch.allclose(layer.weights, weights, atol=1e-5)
        assert torch.allclose(layer.weights.sum(dim=-1), torch.ones(()), atol=1e-5)


def test_what_prompts_give_and_get():
    model = built("deep")
    one, layers = read_attention(model, IMAGES[0]), list(record(model, IMAGES[:1]))
    for layer, whole in enumerate(layers):
        weights = whole.weights[0].numpy()  # [CLS], 3 prompts, 9 patches
        assert np.allclose(one.prompt_rows[layer].reshape(2, 3, 9), weights[:, 1:4, 4:], atol=1e-6)
        assert np.allclose(one.received[layer], weights[:, 4:, 1:4].mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_rollout_is_the_product_of_the_layers(case):
    """Every token of every layer a node of its own, and its mix the rows of plain matrix products."""
    model = built(case)
    found = read_attention(model, IMAGES[0])
    mix = None
    for layer, whole in enumerate(record(model, IMAGES[:1])):
        weights = whole.weights[0].mean(dim=0).numpy()
        half = (weights + np.eye(len(weights))) / 2
        p = whole.prompts
        prompts = np.tile(np.eye(1, 11), (p, 1))  # columns: prompts, [CLS], 9 patches
        if mix is None:
            mix = np.concatenate([np.eye(1, 11, 1), prompts, np.eye(9, 11, 2)])
        elif whole.own:
            mix = np.concatenate([mix[:1], prompts, mix[-9:]])
        mix = half @ mix
        assert np.allclose(found.rollout[layer].ravel(), mix[0, 2:], atol=1e-5)
        assert np.allclose(found.rolled[layer], mix[0, :2], atol=1e-5)


def test_recording_leaves_the_logits_and_no_hook():
    model = built("deep")
    x = to_pixels(IMAGES)
    with torch.no_grad():
        before = model(x)
        drain(read_atlas(model, IMAGES, LABELS))
        drain(find_near(model, IMAGES))
        assert torch.equal(before, model(x))
    names = [name for m in model.backbone.modules() for name, d in vars(m).items() if name.endswith("_hooks") and len(d)]
    assert not names and torch.is_grad_enabled()


def test_prompts_rows_are_left_out_where_they_are_too_many(monkeypatch):
    monkeypatch.setattr(atlas_module, "MOST_ROWS", 4 * 4 * 2 * 3 * 9 - 1)  # sets, layers, heads, prompts, patches
    found = drain(read_atlas(built("deep"), IMAGES, LABELS))
    assert found[None].mean.prompt_rows.shape == (4, 2, 0, 3, 3) and found[1].mean.received.shape == (4, 2, 3)


def test_no_images_is_said():
    with pytest.raises(UserError, match="no images"):
        drain(read_atlas(built("deep"), IMAGES[:0], LABELS[:0]))


# ---- near

def test_a_prompt_that_is_a_patch_is_nearest_to_it():
    model = built("deep")
    for layer, (image, place) in enumerate([(2, 4), (7, 0), (5, 8), (0, 3)]):
        tokens = list(entering(model, IMAGES))[layer][1]  # changes with the prompts of the layers before
        with torch.no_grad():
            model.method.prompts[layer, 1] = tokens[image, 4 + place]
    near = drain(find_near(model, IMAGES, count=5))
    for layer, (image, place) in enumerate([(2, 4), (7, 0), (5, 8), (0, 3)]):
        assert near.cosine[layer][1, 0] == pytest.approx(1, abs=1e-3) and near.image[layer][1, 0] == image
        assert (near.row[layer][1, 0], near.column[layer][1, 0]) == divmod(place, 3)
        assert len(set(near.image[layer][1])) == 5 and (np.diff(near.cosine[layer][1]) <= 0).all()


@pytest.mark.parametrize("case", ["shallow", "deep"])
def test_near_by_hand(case):
    model = built(case)
    near = drain(find_near(model, IMAGES, count=9))
    for layer, (_, tokens, block) in enumerate(entering(model, IMAGES)):
        with torch.no_grad():
            key = queries_and_keys(block, tokens)[1].transpose(1, 2).flatten(2)
        key = key - key[:, 4:].mean(dim=(0, 1))
        similar = torch.stack([F.cosine_similarity(key[:, 1 + k, None], key[:, 4:], dim=2) for k in range(3)])  # (p, N, m)
        assert np.allclose(near.cosine[layer], similar.amax(dim=2).sort(descending=True).values, atol=2e-3)
        among = F.cosine_similarity(key[:, 1:4, None], key[:, None, 1:4], dim=3).mean(dim=0)
        assert np.allclose(near.among[layer], among, atol=2e-3)


def test_what_all_keys_have_in_common_changes_no_attention():
    model = built("deep")
    block = model.backbone.blocks[0]
    tokens = next(entering(model, IMAGES))[1]
    with torch.no_grad():
        before = attention_weights(block, tokens)
        block.attn.qkv.bias[32:64] += 3  # of the keys
        assert torch.allclose(before, attention_weights(block, tokens), atol=1e-5)


def test_near_says_what_it_cannot(monkeypatch):
    with pytest.raises(UserError, match="no prompt tokens"):
        drain(find_near(built("linear"), IMAGES))
    with pytest.raises(UserError, match="no images"):
        drain(find_near(built("deep"), IMAGES[:0]))
    monkeypatch.setattr("vpt_core.analysis.near.MOST_BYTES", 10_000)
    with pytest.raises(UserError, match="The keys of 9 images .* Choose 3 images or fewer"):
        drain(find_near(built("deep"), IMAGES))

