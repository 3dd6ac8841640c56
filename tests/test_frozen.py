"""The backward written by hand, against autograd's."""

from __future__ import annotations

import weakref
from dataclasses import asdict

import pytest
import timm.models.vision_transformer as vit
import torch
from tiny import PLAIN, labels_of, pictures, tiny_backbone
from torch import Tensor

from vpt_core.backbones import to_pixels
from vpt_core.methods import frozen, packing
from vpt_core.methods import how as ways
from vpt_core.methods.attending import FLASH, PRODUCTS, attend, attend_backward
from vpt_core.methods.frozen import can_freeze, frozen_blocks
from vpt_core.methods.how import How
from vpt_core.methods.keyed import block_beside
from vpt_core.model import Model
from vpt_core.precision import BFLOAT16, FLOAT32

BLOCKS = {"plain": {"qkv_bias": True}, "layer scale": {"qkv_bias": True, "init_values": 0.3}, "no bias": {"qkv_bias": False}}


needs_packing = pytest.mark.skipif(not packing.can_pack(torch.float32), reason="this torch has no oneDNN")


def _block(changes: dict) -> vit.Block:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        block = vit.Block(24, 3, **changes).double().eval().requires_grad_(False)
        for weight in block.parameters():
            weight += torch.randn_like(weight) * 0.2
    return block


def _drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(len(shape))).requires_grad_()


@pytest.mark.parametrize("how", [How(), How(lean=True), How(attention=PRODUCTS), How(True, PRODUCTS)], ids=str)
@pytest.mark.parametrize("changes", BLOCKS.values(), ids=BLOCKS)
def test_outputs_and_gradients_are_autograds(changes, how):
    block, x, beside = _block(changes), _drawn(5, 7, 24), _drawn(4, 2, 3, 8)
    assert can_freeze(block)
    ours, theirs = frozen_blocks([block], x, [beside], how), block_beside(block, x, beside[None])
    towards = torch.randn(ours.shape, dtype=torch.double, generator=torch.Generator().manual_seed(9))
    assert torch.allclose(ours, theirs, atol=1e-12)
    expected = torch.autograd.grad(theirs, (x, beside), towards)
    for mine, other in zip(torch.autograd.grad(ours, (x, beside), towards), expected, strict=True):
        assert torch.allclose(mine, other, rtol=0, atol=1e-10) and other.abs().max() > 1e-3
    alone = torch.autograd.grad(frozen_blocks([block], x.detach(), [beside], how), beside, towards)[0]
    assert torch.allclose(alone, expected[1], rtol=0, atol=1e-10)


@pytest.mark.parametrize("attention", [FLASH, PRODUCTS])
def test_the_gradient_is_that_of_small_differences(attention):
    block, how = _block(BLOCKS["layer scale"]), How(attention=attention)
    assert torch.autograd.gradcheck(
        lambda x, beside: frozen_blocks([block], x, [beside], how), (_drawn(2, 5, 24), _drawn(3, 2, 3, 8))
    )


@needs_packing
@pytest.mark.parametrize("lean", [False, True])
@pytest.mark.parametrize("changes", BLOCKS.values(), ids=BLOCKS)
def test_packed_weights_give_the_same(changes, lean, monkeypatch):
    product, shapes = packing._product, []
    monkeypatch.setattr(packing, "_product", lambda x, *rest: shapes.append(x.shape) or product(x, *rest))
    block, x, beside = _block(changes).float(), _drawn(5, 7, 24).detach(), _drawn(4, 2, 3, 8).detach()
    found = []
    for how in How(lean), How(lean, packed=True):
        entering = x.float().requires_grad_(), beside.float().requires_grad_()
        out = frozen_blocks([block], entering[0], [entering[1]], how)
        found.append((out, *torch.autograd.grad(out.square().sum(), entering)))
    for plain, packed in zip(*found, strict=True):
        assert torch.allclose(plain, packed, rtol=1e-5, atol=1e-5 * plain.detach().abs().max())
    assert len(shapes) == 2 * 4 + 3 * lean  # what comes after the hidden layer is not needed again


@needs_packing
def test_packed_weights_go_with_their_layer():
    layer, before = torch.nn.Linear(8, 4).requires_grad_(False), len(packing._packs)
    x = torch.randn(3, 8)
    assert torch.allclose(packing.forwards(layer, x, True), layer(x), atol=1e-6)
    assert torch.allclose(packing.backwards(layer, torch.eye(4), True), layer.weight, atol=1e-6)
    assert len(packing._packs) == before + 1
    del layer
    assert len(packing._packs) == before


def test_both_ways_of_attention_are_the_same_in_bfloat16_too():
    q, k, v, grad = (torch.randn(2, 3, rows, 8, generator=torch.Generator().manual_seed(rows)) for rows in (5, 9, 9, 5))
    found = []
    for way, kind in (FLASH, torch.float32), (FLASH, torch.bfloat16), (PRODUCTS, torch.bfloat16):
        told, sums = attend(way, q.to(kind), k.to(kind), v.to(kind))
        given = attend_backward(way, grad.to(kind), q.to(kind), k.to(kind), v.to(kind), told, sums)
        assert sums.dtype == torch.float32 and all(t.dtype == kind for t in (told, *given))
        found.append(torch.cat([t.float().flatten() for t in (told, *given)]))
    exact, flash, products = found
    assert all(1e-4 < (rounded - exact).norm() / exact.norm() < 0.01 for rounded in (flash, products))


def test_products_lose_little_where_keys_share_a_large_part():
    """As those of trained backbones do: their scores are large, and rounded so."""
    q, k, v = (torch.randn(2, 3, rows, 64, generator=torch.Generator().manual_seed(rows)) for rows in (5, 90, 90))
    q, k = q.bfloat16(), (k + 30).bfloat16()
    exact = attend(FLASH, q.float(), k.float(), v.bfloat16().float())[0]
    assert (attend(PRODUCTS, q, k, v.bfloat16())[0] - exact).norm() < 0.01 * exact.norm()


def test_ways_are_chosen_by_the_clock_in_bfloat16_alone(monkeypatch):
    def never():
        raise AssertionError("tried")

    monkeypatch.setattr(ways, "products_gain", never)
    monkeypatch.setattr(ways, "packing_gain", never)
    assert ways.choose_how(FLOAT32) == How()
    for products, packing_, chosen in (1.0, 1.0, How()), (1.2, 0.9, How(attention=PRODUCTS)), (0.4, 1.5, How(packed=True)):
        monkeypatch.setattr(ways, "products_gain", lambda gain=products: gain)
        monkeypatch.setattr(ways, "packing_gain", lambda gain=packing_: gain)
        assert ways.choose_how(BFLOAT16) == chosen


@pytest.mark.parametrize("can", [True, False])
def test_a_run_goes_on_with_packed_weights_only_where_it_can(can, monkeypatch):
    monkeypatch.setattr(ways, "can_pack", lambda kind: can)
    assert ways.choose_how(BFLOAT16, asdict(How(True, PRODUCTS, packed=True))) == How(True, PRODUCTS, packed=can)


def test_ways_are_tried_once_and_only_where_they_can(monkeypatch):
    tried = []
    monkeypatch.setattr(ways, "_gain", lambda usual, other: tried.append((usual(), other())) or 1.3)
    ways.products_gain.cache_clear(), ways.packing_gain.cache_clear()
    assert ways.products_gain(torch.float32) == ways.products_gain(torch.float32) == ways.packing_gain(torch.float32) == 1.3
    assert len(tried) == 2
    for usual, other in tried:
        assert all(torch.allclose(a, b, rtol=1e-3, atol=1e-3) for a, b in zip(usual, other, strict=True))
    monkeypatch.setattr(ways, "can_pack", lambda kind: False)
    assert ways.packing_gain(torch.bfloat16) == 0
    ways.products_gain.cache_clear(), ways.packing_gain.cache_clear()


def test_the_gain_is_the_ratio_of_the_shortest_times(monkeypatch):
    clock = iter(t for pair in ((9, 9), (2, 1.5), (4, 1), (3, 7)) for t in (0, pair[0], 0, pair[1]))
    monkeypatch.setattr(ways.time, "perf_counter", lambda: next(clock))
    assert ways._gain(lambda: None, lambda: None) == 2.0


def test_packing_is_refused_where_torch_or_the_processor_cannot(monkeypatch):
    assert packing.can_pack(torch.float32) == torch.backends.mkldnn.is_available()
    assert not packing.can_pack(torch.float64)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not packing.can_pack(torch.float32)


def test_other_blocks_keep_autograds_backward():
    kinds = {"qk norm": {"qk_norm": True}, "another activation": {"act_layer": torch.nn.SiLU},
             "another kind": {"block_fn": vit.ParallelScalingBlock}}  # fmt: skip
    for changes in kinds.values():
        method = Model(tiny_backbone(**changes), "vpt-deep", {}, classes=3).method
        assert not method.by_hand and "by hand" not in method.path
    assert "by hand" in Model(tiny_backbone(), "vpt-deep", {}, classes=3).method.path
    assert Model(tiny_backbone(), "vpt-shallow", {}, classes=3).method.path == "prompts as tokens, backward written by hand"
    assert not Model(tiny_backbone(), "lora", {}, classes=3).method.by_hand  # something in its blocks learns


def _gradients(how: dict[str, bool | How]) -> list[Tensor]:
    model = Model(tiny_backbone(), "vpt-deep", {"prompts": 4, "dropout": 0.5}, classes=3)
    vars(model.method).update(how)
    loss = torch.nn.functional.cross_entropy(model.train()(to_pixels(pictures(labels_of(2)))), torch.from_numpy(labels_of(2)))
    return list(torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize("how", [{}, {"how": How(lean=True)}, {"how": How(True, PRODUCTS)}, {"how": None}], ids=str)
def test_every_path_learns_the_same_from_a_step(how):
    for mine, plain in zip(_gradients(how), _gradients(PLAIN), strict=True):
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
    for name, how in {"plain": PLAIN, "by hand": {}, "lean": {"how": How(lean=True)}}.items():
        model = Model(tiny_backbone(depth=12), "vpt-deep", {"prompts": 8}, classes=3)
        vars(model.method).update(how)
        kept[name] = _kept(model, pixels)
    assert kept["by hand"] < 0.85 * kept["plain"] and kept["lean"] < 0.3 * kept["by hand"]


@pytest.mark.parametrize("flows", [True, False])
def test_nothing_is_kept_where_no_gradient_flows(flows, monkeypatch):
    """Through a whole backbone it would be most of the memory that tuning takes."""
    alive, refs, forward = [], [], frozen._forward

    def watched(*args: object, **rest: object) -> list[Tensor]:
        alive.append(sum(ref() is not None for ref in refs))
        found = forward(*args, **rest)
        refs.append(weakref.ref(found[-1]))
        return found

    monkeypatch.setattr(frozen, "_forward", watched)
    block, none = _block(BLOCKS["plain"]), _drawn(0, 2, 3, 8).detach()
    out = frozen_blocks([block] * 4, _drawn(5, 7, 24).detach().requires_grad_(flows), [none] * 4)
    assert out.requires_grad == flows and alive == ([0, 1, 2, 3] if flows else [0, 1, 1, 1])
