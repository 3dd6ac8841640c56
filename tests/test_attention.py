"""Attention: rows that sum to 1, equal to what timm's blocks use, and nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from tiny import FITTING, KINDS, SIZE, labels_of, pictures, same, tiny_backbone, weights

from vpt_core.analysis import attention_weights, read_attention
from vpt_core.backbones import load_backbone, to_pixels
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.model import Model

IMAGE = pictures(labels_of(1), 48)[1]  # (48, 48, 3): 3 x 3 patches
TOKENS = torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(0))
CASES = {"linear": ("linear", {}), "shallow": ("vpt-shallow", {"prompts": 3}), "deep": ("vpt-deep", {"prompts": 3}),
         "layers 2-3": ("vpt-deep", {"prompts": 3, "layers": "2-3"}), "no prompts": ("vpt-deep", {"prompts": 0})}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_rows_sum_to_1(case, kind):
    backbone = tiny_backbone(**KINDS[kind])
    method, options = CASES[case]
    seen = read_attention(Model(backbone, method, options, classes=3), IMAGE)
    assert seen.patches.shape == (4, 2, 3, 3) and seen.to_self.shape == (4, 2)
    counts = {"linear": [0] * 4, "no prompts": [0] * 4, "layers 2-3": [0, 3, 3, 3]}.get(case, [3] * 4)
    assert [p.shape for p in seen.to_prompts] == [(2, n) for n in counts]
    for layer in range(4):
        total = seen.patches[layer].sum((1, 2)) + seen.to_prompts[layer].sum(1) + seen.to_self[layer]
        assert total == pytest.approx(np.ones(2), abs=1e-5)
    assert min(seen.patches.min(), seen.to_self.min(), *(p.min() for p in seen.to_prompts if p.size)) >= 0
    assert (seen.to_self > 0).all() == (backbone.num_prefix_tokens > 0)
    assert seen.query == ("[CLS]" if backbone.reads == "cls" else "the mean of the patches")


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_what_timms_block_computes_with(kind):
    """The block's output from our weights: softmax @ v, projected; with timm's fused kernel and without."""
    for block in tiny_backbone(**KINDS[kind]).net.blocks:
        attn, x = block.attn, block.norm1(TOKENS)
        attention = attention_weights(block, TOKENS)
        assert attention.shape == (2, 2, 10, 10)
        v = attn.qkv(x)[..., 64:].reshape(2, 10, 2, 16).transpose(1, 2)
        out = attn.proj((attention @ v).transpose(1, 2).reshape(2, 10, 32))
        for fused in (True, False):
            attn.fused_attn = fused
            assert torch.allclose(out, attn(x), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_softmax_that_timm_drops_from(kind):
    """Without the fused kernel timm's own weights pass through `attn_drop`, where they can be read."""
    block = tiny_backbone(**KINDS[kind]).net.blocks[1]
    block.attn.fused_attn = False
    seen = []
    block.attn.attn_drop.register_forward_hook(lambda module, args, out: seen.append(out))
    block(TOKENS)
    assert torch.allclose(attention_weights(block, TOKENS), seen[0], atol=1e-6)


def by_hooks(model: Model) -> list[torch.Tensor]:
    """timm's own weights (H, N, N) in each layer of the whole model on `IMAGE`, prompts as tokens of the sequence."""
    seen = []
    for block in model.backbone.net.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, args, out: seen.append(out[0].detach()))
    x = to_pixels(IMAGE[None])
    for i, stage in enumerate(model.method.stages):
        x = stage(model.method.before(i, x))
    return seen


@pytest.mark.parametrize("kind", ["plain", "registers", "no [CLS]"])
def test_the_parts_are_where_they_belong(kind):
    backbone = tiny_backbone(**KINDS[kind])
    model = Model(backbone, "vpt-deep", {"prompts": 3, "layers": "2-4"}, classes=3).eval()
    torch.nn.init.normal_(model.method.prompts, generator=torch.Generator().manual_seed(2))
    seen, n = read_attention(model, IMAGE), backbone.num_prefix_tokens
    for layer, weight in enumerate(by_hooks(model)):
        p = 0 if layer == 0 else 3
        row = weight[:, 0] if kind != "no [CLS]" else weight[:, n + p :].mean(1)
        assert np.allclose(seen.to_self[layer], row[:, :n].sum(1), atol=1e-5)
        assert np.allclose(seen.to_prompts[layer], row[:, n : n + p], atol=1e-5)
        assert np.allclose(seen.patches[layer].reshape(2, 9), row[:, n + p :], atol=1e-5)


def hooks(module: torch.nn.Module) -> int:
    return sum(len(d) for m in module.modules() for name, d in vars(m).items() if name.endswith("_hooks"))


@pytest.mark.parametrize("method", METHODS)
def test_looking_changes_nothing(method):
    backbone = tiny_backbone()
    model = Model(backbone, method, FITTING.get(method, {}), classes=3, image_size=len(IMAGE)).eval()
    x = to_pixels(IMAGE[None])
    logits, before = model(x), weights(backbone)
    flags = [block.attn.fused_attn for block in backbone.net.blocks]
    read_attention(model, IMAGE)
    assert torch.equal(model(x), logits) and same(weights(backbone), before)
    assert hooks(backbone) == hooks(model) == 0
    assert [block.attn.fused_attn for block in backbone.net.blocks] == flags and torch.is_grad_enabled()


OTHERS = {
    "parallel": {"block_fn": timm.models.vision_transformer.ParallelScalingBlock},
    "norm after attention": {"block_fn": timm.models.vision_transformer.ResPostBlock},
    "differential": {"attn_layer": "diff"},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_blocks_of_another_kind_are_refused(changes):
    with pytest.raises(UserError, match="Attention cannot be shown for this backbone"):
        read_attention(Model(tiny_backbone(**changes), "linear", {}, classes=3), IMAGE)


def test_the_bundled_backbone():
    backbone = load_backbone("vit-s14-saliency")
    seen = read_attention(Model(backbone, "vpt-deep", {"prompts": 5}, classes=2), pictures(labels_of(1), 112)[0])
    assert seen.patches.shape == (12, 6, 8, 8) and len(seen.to_prompts) == 12
    last = seen.patches[-1].sum((1, 2)) + seen.to_prompts[-1].sum(1) + seen.to_self[-1]
    assert last == pytest.approx(np.ones(6), abs=1e-5)


def test_the_grid_is_the_images():
    assert read_attention(Model(tiny_backbone(), "linear", {}, classes=3), pictures(labels_of(1))[0]).patches.shape[2:] == (
        SIZE // 16, SIZE // 16
    )
