"""Weights from files: read whole into timm's model, or refused with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import VisionTransformer

from vpt_core import paths
from vpt_core.backbones import BACKBONES, availability, describe, load, load_backbone, weights
from vpt_core.errors import UserError

TINY = "test_vit:random"
BUNDLED = "vit-s14-saliency"


def tiny(**changes) -> VisionTransformer:
    """A model of a few thousand weights, none of them as a fresh model has them."""
    shape = dict(img_size=64, patch_size=16, embed_dim=32, depth=3, num_heads=2, num_classes=0, dynamic_img_size=True)
    vit = timm.create_model("vit_tiny_patch16_224", **shape | changes)
    for p in vit.parameters():
        p.data.add_(0.3 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    return vit


def test_a_missing_asset_says_where_it_should_be(monkeypatch, tmp_path):
    monkeypatch.setattr(load, "_loaded", {})
    monkeypatch.setattr(paths, "ASSETS", tmp_path)
    assert availability(BUNDLED).kind == "missing" and str(tmp_path) in availability(BUNDLED).text
    with pytest.raises(UserError, match="is missing; it should be at .*backbone/vit_small_patch14_saliency"):
        load_backbone(BUNDLED)


def stored(path: Path, seed: int = 3, **changes: torch.Tensor | None) -> Path:
    """A weight file of `test_vit` as the hub would hold it, with a classifier; a change to None leaves a tensor out."""
    torch.manual_seed(seed)
    tensors = timm.create_model("test_vit").state_dict() | changes
    save_file({name: t.contiguous() for name, t in tensors.items() if t is not None}, path)
    return path


def test_weights_from_a_file(tmp_path):
    path = stored(tmp_path / "w.safetensors")
    backbone = load_backbone(f"test_vit:{path}")
    assert load_backbone(f"test_vit:{path}") is backbone is not load_backbone(TINY)
    torch.manual_seed(3)
    whole = timm.create_model("test_vit").eval()
    pixels = torch.rand(2, 3, 160, 160, generator=torch.Generator().manual_seed(0))
    expected = whole.forward_head(whole.forward_features((pixels - backbone.mean) / backbone.std), pre_logits=True)
    assert torch.allclose(backbone(pixels), expected, atol=1e-6)
    assert load_backbone(f"test_vit:{stored(path, seed=4)}").weights_hash != backbone.weights_hash


def test_a_file_with_other_weights_is_refused(tmp_path):
    wide = torch.zeros(5)
    cases = {
        "missing": {"norm.bias": None},
        "left over": {"blocks.6.norm1.weight": torch.zeros(64)},
        "another shape": {"norm.bias": wide},
    }
    for i, (words, change) in enumerate(cases.items()):
        with pytest.raises(UserError, match=f"does not hold the weights of test_vit.*1 tensors.*{words}.*{next(iter(change))}"):
            load_backbone(f"test_vit:{stored(tmp_path / f'{i}.safetensors', **change)}")
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="not a readable safetensors file"):
        load_backbone(f"test_vit:{damaged}")
    with pytest.raises(UserError, match="is missing"):
        load_backbone(f"test_vit:{tmp_path}/nothing.safetensors")


def test_a_read_out_that_pretraining_lacked_starts_with_an_identity_norm():
    """MAE: the file has the norm before pooling, the model one after it."""
    tensors = tiny().state_dict()
    vit = tiny(global_pool="avg")
    row = replace(BACKBONES["vit-b16-mae"], timm="tiny")
    weights.fill(vit, dict(tensors), row, "file")
    assert vit.fc_norm.weight.eq(1).all() and vit.fc_norm.bias.eq(0).all()
    assert torch.equal(vit.blocks[2].mlp.fc2.weight, tensors["blocks.2.mlp.fc2.weight"])
    with pytest.raises(UserError, match="fc_norm"):
        weights.fill(vit, dict(tensors), replace(row, pool=""), "file")


def test_a_position_grid_of_another_size_is_resampled():
    tensors = tiny(img_size=128).state_dict()
    vit = tiny()
    weights.fill(vit, dict(tensors), describe(vit, "tiny"), "file")
    assert vit.pos_embed.shape == (1, 17, 32) and vit.pos_embed.std() > 0.1
    assert torch.equal(vit.pos_embed[:, 0], tensors["pos_embed"][:, 0])
