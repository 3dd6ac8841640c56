"""Every method on every family of backbones: what it learns, where it starts, how much it stores."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import timm
import torch
from tiny import SIZE, labels_of, pictures, same, tiny_backbone, training, weights
from torch import Tensor
from torch.nn import functional as F

from vpt_core.backbones import Backbone, describe, timm_models, to_pixels, wrap
from vpt_core.errors import UserError
from vpt_core.ledger import SHAPES, learned, stored
from vpt_core.methods import METHODS
from vpt_core.model import Model
from vpt_core.spec import Spec

TIMM = {
    "swin_base_patch4_window7_224": {
        "img_size": 64, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 2), "window_size": 4,
    },
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 32)},
    "deit_tiny_distilled_patch16_224": {"img_size": 64, "embed_dim": 32, "depth": 3, "num_heads": 2},
    "test_resnet": {},
    "test_efficientnet": {},
}
VITS = {"plain": {}, "registers": {"reg_tokens": 4, "no_embed_class": True}, "CLIP": {"pre_norm": True}}
FEW = {"vpt-frame": {"width": 8}}
LARGE = {"ViT-B/16": "vit_base_patch16_224", "ViT-L/16": "vit_large_patch16_224", "ViT-H/14": "vit_huge_patch14_224",
         "Swin-B": "swin_base_patch4_window7_224"}  # fmt: skip


def family(name: str) -> Backbone:
    """A small model of timm with random weights, all of them far from 0 and 1 so that each one matters."""
    if name not in TIMM:
        return tiny_backbone(**VITS[name])
    dynamic = {"dynamic_img_size": True} if name.startswith(("swin", "deit")) else {}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        net = timm.create_model(name, num_classes=0, **dynamic, **TIMM[name])
        for p in net.parameters():
            p.add_(torch.randn(p.shape), alpha=0.05)
    return wrap(net, describe(net, "tiny"))


def model_of(backbone: Backbone, method: str, size: int = 64, **options) -> Model:
    """The model, or a skip where the method says in words that it is not defined on the backbone."""
    try:
        return Model(backbone, method, options or FEW.get(method, {}), classes=3, image_size=size)
    except UserError as error:
        assert backbone.family in ("conv", "other") and "which tiny does not have" in str(error)
        pytest.skip(str(error))


PIXELS = to_pixels(pictures(labels_of(2), 64))
EACH = pytest.mark.parametrize("name", [*VITS, *TIMM])
EVERY = pytest.mark.parametrize("method", METHODS)


@EACH
@EVERY
def test_it_starts_where_it_should_and_moves_all_that_it_owns(name, method):
    backbone = family(name)
    model = model_of(backbone, method)
    frozen, first, features = weights(backbone), weights(model), backbone(PIXELS)
    start = model.eval().run(PIXELS)
    assert start.shape == features.shape
    if method in ("linear", "partial", "bias", "adapter", "lora", "full"):
        assert torch.allclose(start, features, rtol=1e-5, atol=1e-5)
    elif method == "sidetune":
        side = model.method.side(backbone.normalised(PIXELS))
        assert torch.allclose(start, (features + side) / 2, atol=1e-6)
    else:
        assert not torch.allclose(start, features, atol=1e-6)
    images, labels = pictures(labels_of(4), 64), torch.from_numpy(labels_of(4))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.train()
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(to_pixels(images)), labels).backward()
        optimizer.step()
    assert same(weights(backbone), frozen)
    still = [key for key, t in model.named_parameters() if torch.equal(t, first[key])]
    assert not still
    assert not torch.equal(model.eval().run(PIXELS), start) or method == "linear"


@EACH
@EVERY
def test_it_overfits_twelve_images(name, method):
    options = {"vpt-deep": {"dropout": 0.0}, "mlp": {"dropout": 0.0}, **FEW}.get(method, {})
    model = model_of(family(name), method, SIZE, **options)
    epochs = 600 if method == "linear" else 150  # twelve images in general position can be told apart, but slowly
    list(training(model, Spec(method=method, epochs=epochs, batch_size=12, lr=3e-3), each=4, val=0))
    pixels, labels = to_pixels(pictures(labels_of(4))), labels_of(4)
    assert (model.eval()(pixels).argmax(1).numpy() == labels).all()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.title)
@EVERY
def test_parameter_counts_are_the_closed_formulas(shape, method):
    net = timm_models.build(LARGE[shape.title], device="meta")
    backbone = wrap(net, describe(net, LARGE[shape.title]))
    options = {"vpt-frame": {"width": 56}, "vpt-deep": {"prompts": 50}, "vpt-shallow": {"prompts": 50}}.get(method, {})
    model = Model(backbone, method, options, classes=100, image_size=224)
    given = asdict(model.method.options)
    assert model.trained == learned(method, given, shape, 100)
    assert sum(t.numel() for t in model.state_dict().values()) == stored(method, given, shape, 100)


def windows_by_hand(block, x: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
    """A Swin block, window by window: each window's tokens with the prompts, the prompts' outputs averaged at the end."""
    batch, height, width, channels = x.shape
    (wh, ww), (sh, sw), attn = block.window_size, block.shift_size, block.attn
    normed, p = block.norm1(x).roll((-sh, -sw), (1, 2)), block.norm1(prompts)
    normed = F.pad(normed, (0, 0, 0, -width % ww, 0, -height % wh))
    masks, bias = block.get_attn_mask(normed), attn._get_rel_pos_bias()[0]  # (nW, N, N) or None, (H, N, N)
    out, told = torch.zeros_like(normed), []
    columns = normed.shape[2] // ww
    for n in range((normed.shape[1] // wh) * columns):
        r, c = n // columns * wh, n % columns * ww
        tokens = torch.cat([p, normed[:, r : r + wh, c : c + ww].reshape(batch, wh * ww, channels)], 1)
        q, k, v = attn.qkv(tokens).reshape(batch, -1, 3, attn.num_heads, channels // attn.num_heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * attn.scale
        m = p.shape[1]
        scores[:, :, m:, m:] += bias + (0 if masks is None else masks[n])
        result = attn.proj((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, -1, channels))
        told.append(result[:, :m])
        out[:, r : r + wh, c : c + ww] = result[:, m:].reshape(batch, wh, ww, channels)
    x = x + out[:, :height, :width].roll((sh, sw), (1, 2))
    prompts = prompts + torch.stack(told).mean(0)
    return x + block.mlp(block.norm2(x)), prompts + block.mlp(block.norm2(prompts))


@pytest.mark.parametrize("size", [64, 48])  # 48: maps that windows do not divide
@pytest.mark.parametrize("case", ["vpt-shallow", "vpt-deep", "2-3", "shared"])
def test_prompts_in_swin_are_the_windows_written_by_hand(case, size):
    backbone, pixels = family("swin_base_patch4_window7_224"), PIXELS[:, :, :size, :size]
    options = {"2-3": {"layers": "2-3"}, "shared": {"shared": True}}.get(case, {})
    method = case if case.startswith("vpt") else "vpt-deep"
    model = Model(backbone, method, {"prompts": 3, **options}, classes=3, image_size=size).eval()
    with torch.no_grad():
        for group in model.method.prompts:
            group.copy_(torch.randn(group.shape, generator=torch.Generator().manual_seed(2)))
    x, prompts = backbone.stem(pixels), None
    for i, block in enumerate(backbone.blocks, start=1):
        if i in model.method.at:
            prompts = model.method.own(i).expand(len(x), -1, -1)
        if i in backbone.layers:
            x, prompts = (block(x), None) if prompts is None else windows_by_hand(block, x, prompts)
        else:
            if prompts is not None:
                prompts = block.reduction(block.norm(torch.cat([prompts] * 4, -1)))
            x = block(x)
    expected = backbone.pool(x)
    assert torch.allclose(model.run(pixels), expected, atol=1e-5)
    assert not torch.allclose(expected, backbone(pixels), atol=1e-3)


def test_prompts_in_swin_are_projected_once_for_the_batch_while_they_know_no_image():
    backbone = family("swin_base_patch4_window7_224")
    rows: list[int] = []
    note = lambda layer, entering: rows.append(len(entering[0])) if entering[0].shape[1] == 3 else None  # noqa: E731
    hooks = [backbone.stages[i].attn.qkv.register_forward_pre_hook(note) for i in backbone.layers]
    ways = {}
    for method in "vpt-deep", "vpt-shallow":
        model = Model(backbone, method, {"prompts": 3}, classes=3, image_size=64)
        rows.clear()
        model(PIXELS[:2])
        ways[model.method.path] = list(rows)
    for hook in hooks:
        hook.remove()
    depth = backbone.depth
    assert ways == {"prompts as keys and values of the windows": [1] * depth,
                    "prompts as tokens of the windows": [1] + [2] * (depth - 1)}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "method", "options", "words"),
    [
        ("swin_base_patch4_window7_224", "vpt-deep", {"place": "add"}, "in its windows only"),
        ("test_resnet", "vpt-deep", {}, "VPT-deep needs tokens"),
        ("test_efficientnet", "partial", {}, "blocks that can be told apart.* takes: Linear probe, MLP, Bias, .*VPT-frame"),
        ("plain", "partial", {"blocks": 9}, "Last blocks is 9"),
        ("plain", "vpt-deep", {"place": "pixel"}, "enter only the first layer"),
        ("plain", "vpt-shallow", {"place": "add", "readout": "prompts"}, "none to read"),
        ("plain", "vpt-shallow", {"place": "pixel", "init": "prototypes"}, "use uniform"),
        ("plain", "vpt-frame", {"width": 3}, "multiple of 8"),
    ],
)
def test_combinations_without_sense_are_refused_in_words(name, method, options, words):
    with pytest.raises(UserError, match=words):
        Model(family(name), method, options, classes=3, image_size=64)


def test_ablations_of_the_place_and_the_read_out():
    backbone = tiny_backbone()
    count = (64 // 16) ** 2
    added = Model(backbone, "vpt-shallow", {"place": "add"}, classes=3, image_size=64).eval()
    assert added.method.prompts.shape == (1, count, 32)
    x = backbone.stem(PIXELS)
    x[:, 1:] += added.method.prompts[0]
    for stage in backbone.stages[1:]:
        x = stage(x)
    assert torch.allclose(added.run(PIXELS), x, atol=1e-5)
    pixel = Model(backbone, "vpt-shallow", {"place": "pixel", "prompts": 4}, classes=3, image_size=64).eval()
    assert pixel.method.prompts.shape == (1, 4, 3, 16, 16) and pixel.method.own(1).shape == (4, 32)
    with torch.no_grad():  # a patch of pixels equal to one of the image's makes that patch's token, without its position
        pixel.method.prompts[0, 0] = backbone.normalised(PIXELS)[0, :, :16, :16]
    assert torch.allclose(pixel.method.own(1)[0], backbone.net.patch_embed(backbone.normalised(PIXELS))[0, 0, 0], atol=1e-5)
    deep = {how: Model(backbone, "vpt-deep", {"prompts": 5, "readout": how}, 3, image_size=64).eval() for how in
            ("default", "cls", "mean", "prompts")}  # fmt: skip
    assert torch.allclose(deep["cls"].run(PIXELS), deep["default"].run(PIXELS), atol=1e-5)
    x = PIXELS
    for i, stage in enumerate(backbone.stages[:-1]):
        x = stage(deep["prompts"].method.before(i, x))
    normed = backbone.net.norm(x)
    assert torch.allclose(deep["prompts"].run(PIXELS), normed[:, 1:6].mean(1), atol=1e-5)
    assert torch.allclose(deep["mean"].run(PIXELS), normed[:, 6:].mean(1), atol=1e-4)


@pytest.mark.parametrize("name", ["registers", "swin_base_patch4_window7_224"])
def test_prototypes_are_means_of_the_images_tokens(name):
    backbone = family(name)
    images = pictures(labels_of(4), 64)
    model = Model(backbone, "vpt-deep", {"prompts": 1, "init": "prototypes"}, classes=3, image_size=64)
    model.method.prepare(images)
    x = to_pixels(images)
    for i, stage in enumerate(backbone.stages[:-1]):
        if i in model.method.at:
            tokens = x.flatten(1, -2)[:, getattr(backbone, "num_prefix_tokens", 0) :]
            assert torch.allclose(model.method.eval().own(i)[0], tokens.mean((0, 1)), atol=1e-4)
        x = stage(x)
    many = Model(backbone, "vpt-deep", {"prompts": 500, "init": "prototypes"}, 3, image_size=32)
    with pytest.raises(UserError, match="500 prompts need as many image tokens"):
        many.method.prepare(images[:1, :32, :32])


def test_one_image_in_the_last_batch_is_learned_by_the_mlp():
    model = Model(tiny_backbone(), "mlp", {}, classes=3, image_size=SIZE).train()
    model(to_pixels(np.zeros((1, SIZE, SIZE, 3), np.uint8))).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
