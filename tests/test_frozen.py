"""The backward written by hand, against autograd's."""

from __future__ import annotations

import pytest
import timm.models.vision_transformer as vit
import torch
from tiny import labels_of, pictures, tiny_backbone
from torch import Tensor

from vpt_core.backbones import to_pixels
from vpt_core.methods.frozen import can_freeze, frozen_block
from vpt_core.methods.keyed import block_beside
from vpt_core.model import Model

BLOCKS = {"plain": {"qkv_bias": True}, "layer scale": {"qkv_bias": True, "init_values": 0.3}, "no bias": {"qkv_bias": False}}


def _block(changes: dict) -> vit.Block:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        block = vit.Block(24, 3, **changes).double().eval().requires_grad_(False)
        for weight in block.parameters():
            weight += torch.randn_like(weight) * 0.2
    return block


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(len(shape))).requires_grad_()


@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("rows", [None, 1, 3])
@pytest.mark.parametrize("changes", BLOCKS.values(), ids=BLOCKS)
def test_outputs_and_gradients_are_autograds(changes, rows, lean):
    block, x, beside = _block(changes), _drawn(5, 7, 24), _drawn(4, 2, 3, 8)
    assert can_freeze(block)
    ours, theirs = frozen_block(block, x, beside, rows, lean), block_beside(block, x, beside[None], rows)
    towards = torch.randn(ours.shape, dtype=torch.double, generator=torch.Generator().manual_seed(9))
    assert torch.allclose(ours, theirs, atol=1e-12)
    expected = torch.autograd.grad(theirs, (x, beside), towards)
    for mine, other in zip(torch.autograd.grad(ours, (x, beside), towards), expected, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-10) and other.abs().max() > 1e-3
    alone = torch.autograd.grad(frozen_block(block, x.detach(), beside, rows, lean), beside, towards)[0]
    assert torch.allclose(alone, expected[1], rtol=0, atol=1e-10)


def test_the_gradient_is_that_of_small_differences():
    block = _block(BLOCKS["layer scale"])
    assert torch.autograd.gradcheck(lambda x, beside: frozen_block(block, x, beside, 2), (_drawn(2, 5, 24), _drawn(3, 2, 3, 8)))


def test_other_blocks_keep_autograds_backward():
    kinds = {"qk norm": {"qk_norm": True}, "another activation": {"act_layer": torch.nn.SiLU},
             "another kind": {"block_fn": vit.ParallelScalingBlock}}  # fmt: skip
    for changes in kinds.values():
        method = Model(tiny_backbone(**changes), "vpt-deep", {}, classes=3).method
        assert not method.by_hand and "by hand" not in method.path
    assert "by hand" in Model(tiny_backbone(), "vpt-deep", {}, classes=3).method.path
    assert not Model(tiny_backbone(), "vpt-shallow", {}, classes=3).method.by_hand


def _gradients(how: dict[str, bool]) -> list[Tensor]:
    model = Model(tiny_backbone(), "vpt-deep", {"prompts": 4, "dropout": 0.5}, classes=3)
    vars(model.method).update(how)
    loss = torch.nn.functional.cross_entropy(model.train()(to_pixels(pictures(labels_of(2)))), torch.from_numpy(labels_of(2)))
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("how", [{}, {"lean": True}, {"by_hand": False}], ids=str)
def test_every_path_learns_the_same_from_a_step(how):
    for mine, plain in zip(_gradients(how), _gradients({"keyed": False}), strict=True):
        assert torch.allclose(mine, plain, rtol=1e-4, atol=1e-5 * plain.abs().max())


def _kept(model: Model, pixels: Tensor) -> int:
    """Bytes that a forward pass holds on to for the backward, each storage once; the model's own weights not counted."""
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.backbone.parameters())}
    held: dict[int, int] = {}

    def hold(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(hold, lambda t: t):
        out = model.train()(pixels)
    assert out.requires_grad
    return sum(held.values())


def test_it_holds_less_for_the_backward():
    pixels = to_pixels(pictures(labels_of(4)))
    kept = {}
    for name, how in {"plain": {"keyed": False}, "by hand": {}, "lean": {"lean": True}}.items():
        model = Model(tiny_backbone(depth=6), "vpt-deep", {"prompts": 8}, classes=3)
        vars(model.method).update(how)
        kept[name] = _kept(model, pixels)
    assert kept["by hand"] < 0.85 * kept["plain"] and kept["lean"] < 0.3 * kept["by hand"]
