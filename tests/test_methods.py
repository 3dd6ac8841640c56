"""Methods: one battery for every row of the table, and visual prompts against references written by hand."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch
from tiny import FITTING, KINDS, SIZE, history, labels_of, pictures, same, tiny_backbone, training, weights
from torch import Tensor

from vpt_core.backbones import Backbone, describe, timm_models, to_pixels, wrap
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.methods.prompt import prompt_bound, read_layers
from vpt_core.model import Model
from vpt_core.options import options_of
from vpt_core.spec import Spec

EVERY = pytest.mark.parametrize("name", METHODS)
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
PIXELS = to_pixels(pictures(labels_of(2), 48))  # (6, 3, 48, 48): 3 x 3 patches, and so another grid than the pretrained one


def tuned(backbone: Backbone, name: str, seed: int = 0, size: int = 48) -> Model:
    """Any method with options that suit the tiny backbones, for images of `size` pixels."""
    return Model(backbone, name, FITTING.get(name, {}), classes=3, seed=seed, image_size=size)


def random_prompts(model: Model, scale: float = 1.0) -> dict[int, Tensor]:
    """Give `model` prompts that matter, and return them by layer, (p, d) each."""
    method = model.method
    with torch.no_grad():
        method.prompts.copy_(torch.randn(method.prompts.shape, generator=torch.Generator().manual_seed(5)) * scale)
    return dict(zip(method.layers, method.prompts.detach(), strict=True))


def by_hand(backbone: Backbone, prompts: dict[int, Tensor], prompts_last: bool = False) -> Tensor:
    """Features (B, d) of `PIXELS` from timm's blocks alone, with [CLS] and registers C, prompts P and patches E kept apart.

    `prompts` holds the (p, d) of each prompted layer. The sequence is [C, P, E], or [C, E, P] with `prompts_last`.
    """
    vit, n = backbone.net, backbone.num_prefix_tokens
    config = vit.pretrained_cfg
    mean, std = (torch.tensor(config[key]).view(1, 3, 1, 1) for key in ("mean", "std"))
    x = vit.norm_pre(vit._pos_embed(vit.patch_embed((PIXELS - mean) / std)))
    c, p, e = x[:, :n], x[:, :0], x[:, n:]
    for number, block in enumerate(vit.blocks, start=1):
        if number in prompts:
            p = prompts[number].repeat(len(x), 1, 1)
        if prompts_last:
            c, e, p = block(torch.cat([c, e, p], 1)).split([n, e.shape[1], p.shape[1]], 1)
        else:
            c, p, e = block(torch.cat([c, p, e], 1)).split([n, p.shape[1], e.shape[1]], 1)
    x = vit.norm(torch.cat([c, e], 1))
    return vit.fc_norm(x[:, 0] if vit.global_pool == "token" else x[:, n:].mean(1))


@EVERY
def test_a_row_says_what_it_is(name):
    method = METHODS[name]
    assert method.name == name and method.title and method.about.endswith(".")
    Spec(method=name, **method.recipe)
    for opt, default in options_of(method.Options).values():
        assert opt.label and opt.help and type(default) in (int, float, str, bool)
    assert method.read_options({}) == method.Options()
    assert method.read_options(asdict(method.Options())) == method.Options()
    with pytest.raises(UserError, match=rf"\({name}\) has no option 'colour'; it"):
        method.read_options({"colour": "red"})


@EVERY
@EACH_KIND
def test_it_runs_on_every_kind_of_backbone(name, kind):
    backbone = tiny_backbone(**KINDS[kind])
    model = tuned(backbone, name)
    model.train()
    assert model(PIXELS).shape == (6, 3)
    model.eval()
    assert model.run(PIXELS).shape == (6, backbone.embed_dim) and model(PIXELS).isfinite().all()
    assert torch.equal(model(PIXELS), model(PIXELS))
    assert torch.allclose(model(PIXELS)[1:2], model(PIXELS[1:2]), atol=1e-5)


@EVERY
def test_three_steps_move_all_that_is_trained_and_nothing_else(name):
    backbone = tiny_backbone()
    model = tuned(backbone, name, seed=1, size=SIZE)
    frozen, first = weights(backbone), weights(model)
    steps = list(training(model, Spec(method=name, batch_size=8, epochs=1)))
    assert [type(s).__name__ for s in steps] == ["Step", "Step", "Step", "Epoch"]
    assert same(weights(backbone), frozen)
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    assert set(model.state_dict()) == set(first)
    still = [key for key, t in model.named_parameters() if torch.equal(t, first[key])]
    assert not still and all(p.requires_grad for p in model.parameters())


@EVERY
def test_what_it_learned_is_all_it_takes(name):
    backbone = tiny_backbone()
    model, other = (tuned(backbone, name, seed, SIZE) for seed in (1, 2))
    list(training(model, Spec(method=name, epochs=2)))
    other.load_state_dict(model.state_dict())
    pixels = to_pixels(pictures(labels_of(2)))
    assert torch.equal(other.eval()(pixels), model(pixels))
    assert not any(key.startswith(("backbone", "stages", "twin")) for key in model.state_dict())


@EVERY
def test_the_stages_before_the_cut_are_the_backbones(name):
    backbone = tiny_backbone()
    model = tuned(backbone, name)
    method, x = model.method.train(), PIXELS
    assert method.first_layer(method.options, backbone.depth) == max(1, min(method.cut, backbone.depth + 1))
    for stage in backbone.stages[: method.cut]:
        x = stage(x)
    assert torch.allclose(model.run(PIXELS, 0, method.cut), x, rtol=1e-5, atol=1e-5)


@EVERY
def test_models_on_one_backbone_do_not_change_each_other(name):
    backbone = tiny_backbone()
    one = tuned(backbone, name, seed=1).eval()
    before = one(PIXELS)
    for other in METHODS:
        list(training(tuned(backbone, other, size=SIZE), Spec(method=other, epochs=1)))
    assert torch.equal(one(PIXELS), before)
    assert torch.equal(tuned(backbone, name, seed=1).eval()(PIXELS), before)


@pytest.mark.parametrize("name", ["vpt-shallow", "vpt-deep"])
def test_no_prompts_are_the_linear_probe(name):
    backbone, spec = tiny_backbone(), Spec(epochs=4, batch_size=5, seed=3)
    probe = Model(backbone, "linear", {}, classes=3, seed=3)
    prompted = Model(backbone, name, {"prompts": 0}, classes=3, seed=3)
    assert torch.allclose(prompted.eval()(PIXELS), probe.eval()(PIXELS), atol=1e-6)
    assert prompted.trained == probe.trained
    for a, b in zip(history(prompted, spec), history(probe, spec), strict=True):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-5)
    assert torch.allclose(prompted(PIXELS), probe(PIXELS), atol=1e-5)


CASES = {  # method, options, layers
    "shallow": ("vpt-shallow", {}, [1]),
    "deep": ("vpt-deep", {}, [1, 2, 3, 4]),
    "layers 2-3": ("vpt-deep", {"layers": "2-3"}, [2, 3]),
    "layers 2,4": ("vpt-deep", {"layers": "2,4"}, [2, 4]),
    "layers 3-4": ("vpt-deep", {"layers": "3-4"}, [3, 4]),
    "layer 4": ("vpt-deep", {"layers": "4"}, [4]),
}


@EACH_KIND
@pytest.mark.parametrize("case", CASES)
def test_the_prompted_forward_is_the_loop_written_by_hand(case, kind):
    backbone = tiny_backbone(**KINDS[kind])
    name, options, layers = CASES[case]
    model = Model(backbone, name, {"prompts": 5, **options}, classes=3).eval()
    prompts = random_prompts(model)
    assert list(prompts) == layers
    expected = by_hand(backbone, prompts)
    assert torch.allclose(model.run(PIXELS), expected, atol=1e-5)
    assert not torch.allclose(model.run(PIXELS), by_hand(backbone, {}), atol=1e-2)
    assert torch.allclose(model(PIXELS), model.head(expected), atol=1e-5)


@EACH_KIND
@pytest.mark.parametrize("case", ["shallow", "deep"])
def test_the_place_of_prompts_in_the_sequence_does_not_matter(case, kind):
    backbone = tiny_backbone(**KINDS[kind])
    name, options, _ = CASES[case]
    model = Model(backbone, name, {"prompts": 5, **options}, classes=3).eval()
    prompts = random_prompts(model)
    assert torch.allclose(model.run(PIXELS), by_hand(backbone, prompts, prompts_last=True), atol=1e-5)


def vit_b16() -> Backbone:
    """ViT-B/16 in shape only: no weights in memory."""
    vit = timm_models.build("vit_base_patch16_224", device="meta")
    return wrap(vit, describe(vit, "vit_base_patch16_224"))


@pytest.mark.parametrize(("name", "count", "share"), [("vpt-shallow", 38_400, 0.0004), ("vpt-deep", 460_800, 0.0054)])
def test_parameters_of_fifty_prompts_on_vit_b16(name, count, share):
    backbone = vit_b16()
    model = Model(backbone, name, {"prompts": 50}, classes=100)
    assert backbone.params == 85_798_656
    assert model.method.prompts.numel() == sum(p.numel() for p in model.method.parameters()) == count
    assert model.trained == count + 100 * 769
    assert round(count / backbone.params, 4) == share


def test_first_prompts_are_uniform_within_the_papers_bound():
    assert prompt_bound((16, 16), 768) == 0.0625
    assert prompt_bound((16, 32), 64) == pytest.approx((6 / (3 * 16 * 32 + 64)) ** 0.5)
    deep = METHODS["vpt-deep"]  # by itself: a model would take its prompts to where the backbone is, which has no numbers here
    prompts = deep(vit_b16(), deep.read_options({"prompts": 50}), torch.Generator().manual_seed(0), 224).prompts.detach()
    assert prompts.shape == (12, 50, 768)
    assert prompts.abs().max() <= 0.0625
    assert prompts.min() < -0.0624 and prompts.max() > 0.0624 and abs(prompts.mean()) < 1e-3
    assert prompts.std() == pytest.approx(0.125 / 12**0.5, rel=0.01)
    narrow = Model(tiny_backbone(), "vpt-shallow", {"prompts": 50}, classes=2).method.prompts
    assert 0.95 < narrow.abs().max() / prompt_bound((16, 16), 32) <= 1


def test_defaults_follow_the_paper():
    assert METHODS["vpt-deep"].Options().dropout == 0.1 and METHODS["vpt-shallow"].Options().dropout == 0.0
    assert METHODS["vpt-deep"].Options().prompts == METHODS["vpt-shallow"].Options().prompts == 10


def test_prompt_dropout_zeroes_a_share_in_training_only():
    model = Model(tiny_backbone(embed_dim=64), "vpt-deep", {"prompts": 200, "dropout": 0.3}, classes=2)
    prompts = torch.ones(200, 64)
    dropped = model.train().method.dropped(prompts)
    assert dropped.unique().tolist() == [0.0, pytest.approx(1 / 0.7)]
    assert (dropped == 0).float().mean().item() == pytest.approx(0.3, abs=0.02)
    assert not torch.equal(model.method.dropped(prompts), dropped)
    assert model.eval().method.dropped(prompts) is prompts


def test_prompt_dropout_depends_on_the_seed_and_not_on_the_neighbours():
    backbone = tiny_backbone()
    first, second = (Model(backbone, "vpt-deep", {"dropout": 0.5}, classes=2, seed=4).train() for _ in range(2))
    masks = []
    for model in (first, second):
        torch.manual_seed(len(masks))
        masks.append(model.method.dropped(torch.ones(10, 32)))
        torch.rand(7)
    assert torch.equal(*masks)


@pytest.mark.parametrize(
    ("text", "layers"),
    [("all", range(1, 13)), (" All ", range(1, 13)), ("1", [1]), ("9-12", [9, 10, 11, 12]), ("12,1, 6", [1, 6, 12]),
     ("1-3,2-4", [1, 2, 3, 4]), ("1 - 2 , 12", [1, 2, 12])],
)
def test_layers_in_words(text, layers):
    assert read_layers(text, 12) == tuple(layers)


@pytest.mark.parametrize(
    "text", ["", "none", "0", "13", "0-3", "9-13", "5-3", "1,,2", "-1", "1-", "1.5", "1;2", "٣x", "99999", "1-2-3"]
)
def test_layers_that_are_none(text):
    with pytest.raises(UserError, match="Prompted layers is .*; write all, or layers from 1 to 12 such as .*1-12 or 1,12"):
        read_layers(text, 12)
    with pytest.raises(UserError, match="Prompted layers"):
        Model(tiny_backbone(), "vpt-deep", {"layers": text}, classes=2)


def test_prompt_tokens_that_enter_a_layer():
    backbone = tiny_backbone()
    count = [Model(backbone, "vpt-deep", {"prompts": 5, "layers": "2,4"}, 2).method.count_in(i) for i in range(1, 5)]
    assert count == [0, 5, 5, 5]
    shallow = Model(backbone, "vpt-shallow", {"prompts": 5}, 2)
    assert [shallow.method.count_in(i) for i in range(1, 5)] == [5, 5, 5, 5]


def test_an_image_size_is_free():
    model = Model(tiny_backbone(), "vpt-deep", {}, classes=3).eval()
    small, large = (model(to_pixels(pictures(labels_of(1), size))) for size in (SIZE, 2 * SIZE))
    assert small.shape == large.shape == (3, 3)
