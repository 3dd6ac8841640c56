"""Backbones: stages equal timm's own forward, stay frozen, and every way to the weights works or says why not."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import timm
import torch
from timm.models import VisionTransformer

from vpt_core import paths
from vpt_core.backbones import (
    BACKBONES,
    Backbone,
    availability,
    card,
    describe,
    load,
    load_backbone,
    timm_models,
    to_pixels,
    weights,
    wrap,
)
from vpt_core.errors import UserError

TINY = "test_vit:random"  # timm's 0.3 million parameter ViT
BUNDLED = "vit-s14-saliency"
SHAPE = dict(img_size=64, patch_size=16, embed_dim=32, depth=3, num_heads=2, num_classes=0, dynamic_img_size=True)
VARIANTS = {
    "plain": dict(),
    "registers": dict(reg_tokens=4, no_embed_class=True),
    "mean": dict(global_pool="avg"),
    "mean, norm before pooling": dict(global_pool="avg", fc_norm=False),
    "no [CLS]": dict(class_token=False, global_pool="avg"),
    "no [CLS], registers": dict(class_token=False, global_pool="avg", reg_tokens=4),
    "CLIP's norm before the blocks": dict(pre_norm=True),
    "layer scale": dict(init_values=0.1),
    "parallel blocks": dict(block_fn=timm.models.vision_transformer.ParallelScalingBlock),
    "differential attention": dict(attn_layer="diff"),
    "no position embedding": dict(pos_embed="none"),
}


def make(**changes) -> Backbone:
    """A tiny backbone with random weights, all of them far from 0 and 1 so that each one matters."""
    vit = timm.create_model("vit_tiny_patch16_224", **SHAPE | changes)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in vit.parameters():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.2)
    return wrap(vit, describe(vit, "tiny"))


def images(size: int, count: int = 2) -> torch.Tensor:
    return to_pixels(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def reference(backbone: Backbone, pixels: torch.Tensor) -> torch.Tensor:
    """timm's own forward on pixels normalised by hand with timm's statistics."""
    config = backbone.net.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    return backbone.net.forward_head(backbone.net.forward_features((pixels - mean) / std), pre_logits=True)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS)
def test_stages_compose_to_timm_bit_for_bit(changes):
    backbone = make(**changes)
    assert len(backbone.stages) == backbone.depth + 2 == 5
    for size in (64, 48, 112):
        x = pixels = images(size)
        gh, gw = backbone.grid(size)
        for stage in backbone.stages[:-1]:
            x = stage(x)
            assert x.shape == (2, backbone.num_prefix_tokens + gh * gw, 32)
        x = backbone.stages[-1](x)
        assert x.shape == (2, 32) and x.std() > 0
        assert torch.equal(x, reference(backbone, pixels)) and torch.equal(x, backbone(pixels))


def test_private_seams_of_timm():
    """`Backbone` calls these parts of timm's `VisionTransformer`; a timm without one of them needs another `Backbone`."""
    vit = timm.create_model("vit_tiny_patch16_224", **SHAPE)
    for name in ("patch_embed", "_pos_embed", "patch_drop", "norm_pre", "norm", "pool", "fc_norm", "head_drop"):
        assert callable(getattr(vit, name, None)), name
    assert callable(vit.patch_embed.feat_ratio) and callable(vit.patch_embed.dynamic_feat_size)
    assert callable(timm.models.vision_transformer.checkpoint_filter_fn)
    assert {"mean", "std", "num_classes"} <= vit.pretrained_cfg.keys()
    assert type(vit) is VisionTransformer and vit.global_pool in ("token", "avg")


def test_what_a_backbone_says_of_itself():
    backbone = make(reg_tokens=4)
    assert (backbone.embed_dim, backbone.depth, backbone.num_heads, backbone.patch_size) == (32, 3, 2, (16, 16))
    assert (backbone.num_prefix_tokens, backbone.has_class_token, backbone.reads) == (5, True, "cls")
    assert backbone.grid(112) == (7, 7)
    assert backbone.params == sum(p.numel() for p in backbone.net.parameters()) > 0
    without = make(class_token=False, global_pool="avg")
    assert (without.num_prefix_tokens, without.has_class_token, without.reads) == (0, False, "mean")


def test_frozen_and_in_eval_mode_for_ever():
    backbone = make()
    torch.nn.Sequential(backbone).train()
    assert not any(m.training for m in backbone.modules())
    assert not any(p.requires_grad for p in backbone.parameters())
    assert all(m.p == 0 for m in load_backbone(BUNDLED).modules() if isinstance(m, torch.nn.Dropout))


def test_pixels():
    pictures = np.zeros((2, 4, 6, 3), np.uint8)
    pictures[0, 1, 2] = 255, 51, 0
    pixels = to_pixels(pictures)
    assert pixels.shape == (2, 3, 4, 6) and pixels.dtype == torch.float32
    assert pixels[0, :, 1, 2].tolist() == [1.0, pytest.approx(0.2), 0.0] and pixels.sum() == pytest.approx(1.2)
    assert torch.equal(to_pixels(torch.from_numpy(pictures)), pixels)
    pictures.flags.writeable = False
    assert torch.equal(to_pixels(pictures[::-1]), pixels.flip(0))
    with pytest.raises(TypeError):
        to_pixels(pictures / 255)


@pytest.mark.parametrize(("size", "advice"), [(100, "98 or 112"), (5, "14 or more"), (0, "14 or more"), (-14, "14 or more")])
def test_a_size_that_does_not_divide_is_refused_with_the_nearest(size, advice):
    backbone = load_backbone(BUNDLED)
    with pytest.raises(UserError, match=f"patches of 14 pixels; {size} is no multiple of that. Use {advice}"):
        backbone.check_size(size)
    for good in backbone.sizes:
        backbone.check_size(good)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_row_tells_the_truth_about_timm(name):
    row = BACKBONES[name]
    vit = timm_models.build(row.timm, row.pool, device="meta")
    told = describe(vit, name)
    assert (row.params, row.patch, row.reads) == (told.params, told.patch, told.reads)
    assert row.default_size in row.sizes and all(size % row.patch == 0 for size in row.sizes)
    if row.bundled:
        assert row.download_mb == round((paths.ASSETS / row.bundled).stat().st_size / 1e6)
    else:
        assert row.download_mb == pytest.approx(told.download_mb, abs=1)
        assert vit.pretrained_cfg["hf_hub_id"].startswith("timm/")
        assert timm_models.canonical(row.timm) == row.timm


def test_the_papers_backbone_has_its_parameters_and_statistics():
    row = BACKBONES["vit-b16-in21k"]
    config = timm.get_pretrained_cfg(row.timm)
    assert row.params == 85_798_656 and config.mean == config.std == (0.5, 0.5, 0.5)


def test_names():
    assert next(iter(BACKBONES)) == BUNDLED
    assert card("vit_base_patch16_224.mae") is card("timm/vit_base_patch16_224.mae") is BACKBONES["vit-b16-mae"]
    assert card("vit_small_patch14_dinov2").name == "vit-s14-dinov2"
    other = card("vit_small_r26_s32_224")
    assert other.name == "vit_small_r26_s32_224.augreg_in21k_ft_in1k" and card(other.name) == other
    assert other.patch == 32 and all(size % 32 == 0 for size in other.sizes) and other.default_size == 224


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit-s14-saliancy", "Did you mean 'vit-s14-saliency'"),
        ("vit_tiny_patch16_224.nope", "There is no backbone"),
        ("vit_*", "There is no backbone"),
        ("hf-hub:timm/test_vit", "There is no backbone"),
        ("", "There is no backbone"),
    ],
)
def test_what_cannot_be_a_backbone_is_refused_before_any_download(name, words, monkeypatch):
    monkeypatch.setattr(weights, "download", lambda *_: pytest.fail("went to the network"))
    for ask in (load_backbone, availability):
        with pytest.raises(UserError, match=words):
            ask(name)


OTHERS = {
    "distilled": ("deit_tiny_distilled_patch16_224", "vit", (64, 112)),
    "attention pooling": ("test_vit3", "vit", (64, 112)),
    "Swin": ("swin_tiny_patch4_window7_224", "swin", (64, 112, 224)),
    "ConvNeXt": ("test_convnext", "conv", (64, 112)),
    "ResNet": ("test_resnet", "conv", (64, 112)),
    "anything else": ("test_efficientnet", "other", (64, 112)),
    "one size only": ("test_vit4", "vit", (64,)),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_stages_of_every_family_compose_to_timm_bit_for_bit(kind):
    name, family, sizes = OTHERS[kind]
    backbone = load_backbone(f"{name}:random")
    assert backbone.family == family and len(backbone.stages) == len(backbone.blocks) + 2
    assert backbone.depth == card(f"{name}:random").depth == len(backbone.layers)
    for size in sizes:
        backbone.check_size(size)
        features = backbone(images(size))
        assert features.shape == (2, backbone.embed_dim) and features.std() > 0
        assert torch.equal(features, reference(backbone, images(size)))


def test_a_model_that_takes_one_size_says_so():
    told = card("beit_base_patch16_224")
    assert told.fixed_size and told.sizes == (224,) and told.depth == 0


def test_only_sizes_that_an_unknown_model_takes_are_offered_and_others_are_refused():
    told = card("sehalonet33ts")  # cuts maps into blocks that only some sizes divide, and declares no size as its only one
    assert told.family == "other" and told.sizes == (256,) and told.default_size == 256
    with pytest.raises(UserError, match="112 pixels a side .*It does on 256"):
        load_backbone("sehalonet33ts:random").check_size(112)


def test_a_model_with_batch_norms_over_single_numbers_is_described():
    assert card("skresnet18").depth == 8  # its attention over channels squeezes a map to one number a channel


def test_a_twin_shares_every_tensor_and_no_module():
    backbone = make()
    twin = backbone.twin()
    assert twin is not backbone and twin.blocks[0] is not backbone.blocks[0]
    assert all(a is b for a, b in zip(twin.parameters(), backbone.parameters(), strict=True))
    assert all(a is b for a, b in zip(twin.buffers(), backbone.buffers(), strict=True))
    assert torch.equal(twin(images(64)), backbone(images(64)))


def test_a_model_without_published_weights_says_so():
    for ask in (load_backbone, availability):
        with pytest.raises(UserError, match="no published weights.*vit_huge_patch14_gap_224.in1k_ijepa:random"):
            ask("vit_huge_patch14_gap_224.in1k_ijepa")


def test_random_weights_are_the_same_each_time_and_leave_the_random_state_alone(monkeypatch):
    monkeypatch.setattr(load, "_loaded", {})
    before = torch.random.get_rng_state()
    first = timm_models.build_random("test_vit")
    torch.manual_seed(5)
    second = timm_models.build_random("test_vit")
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))
    torch.random.set_rng_state(before)
    load_backbone(TINY)
    load_backbone(BUNDLED)
    assert torch.equal(before, torch.random.get_rng_state())
    assert load_backbone(TINY).name == "test_vit.r160_in1k:random" and availability(TINY).kind == "local"


def test_one_copy_serves_concurrent_callers(monkeypatch):
    monkeypatch.setattr(load, "_loaded", {})
    built = []
    monkeypatch.setattr(load, "_load", lambda *a, real=load._load: built.append(a) or real(*a))
    start, found = threading.Barrier(8), []

    def visit() -> None:
        start.wait()
        found.append(load_backbone(TINY))

    threads = [threading.Thread(target=visit) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1 and len(found) == 8 and len({id(b) for b in found}) == 1
    assert load_backbone("test_vit.r160_in1k:random") is found[0]


def test_the_bundled_backbone():
    backbone = load_backbone(BUNDLED)
    assert availability(BUNDLED).text == "bundled, 44 MB"
    features = {size: backbone(images(size, 1)) for size in backbone.sizes}
    assert all(feature.isfinite().all() and feature.shape == (1, 384) for feature in features.values())
    assert torch.equal(features[112], reference(backbone, images(112, 1)))
    assert not torch.allclose(features[112], features[168]) and not torch.allclose(features[168], features[224])
    assert backbone.net.pos_embed.dtype == torch.float32 and backbone.net.patch_embed.grid_size == (37, 37)


def test_weights_hash():
    backbone = load_backbone(BUNDLED)
    assert backbone.weights_hash == "892c56ac04dd17fee7b313a73adbf72e9ab0ae7b67a5050aab5c50f5907ab76b"
    tiny = load_backbone(TINY)
    same, other = (wrap(timm_models.build_random("test_vit"), tiny.card) for _ in range(2))
    with torch.no_grad():
        other.net.blocks[1].mlp.fc1.bias[3] += 1e-3
    assert tiny.weights_hash == same.weights_hash != other.weights_hash
