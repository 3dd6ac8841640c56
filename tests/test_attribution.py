"""Attribution: equal to its definitions, complete, harmless to the model, and pointing to where a planted answer lies."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_families import TIMM, family, model_of
from tiny import FITTING, SIZE, labels_of, pictures, same, tiny_backbone, weights
from torch import nn

from vpt_core.analysis import ATTRIBUTIONS, BASELINES, attribute, attribute_prompts, delete_and_insert, read_attention
from vpt_core.analysis.cells import Margin, cell_sums, cells
from vpt_core.backbones import load_backbone, to_pixels
from vpt_core.embed import drain, feed
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.model import Model
from vpt_core.spec import Spec
from vpt_core.train import fit

IMAGE = pictures(labels_of(1), 48)[1]  # (48, 48, 3): 3 x 3 patches


class Corner(nn.Module):
    """Says class 1 for red in the bottom right one of 4 x 4 cells and looks at nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = SimpleNamespace(card=SimpleNamespace(tokens=lambda size: 16))
        self.head = nn.Linear(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = 8 * x[:, 0, -8:, -8:].mean(dim=(1, 2)) - 4
        return torch.stack([-red, red], dim=1)


def corner_image() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 100, (32, 32, 3), dtype=np.uint8)
    image[-8:, -8:] = (230, 40, 40)
    return image


def deep(**options) -> Model:
    return Model(tiny_backbone(), "vpt-deep", {"prompts": 3} | options, classes=3, seed=1)


def score_of(model: Model, pixels: torch.Tensor, target: int) -> torch.Tensor:
    logits = model.eval()(pixels)[0]
    return logits[target] - logits.mean()


# ---- maps

@pytest.mark.parametrize("method", ATTRIBUTIONS)
@pytest.mark.parametrize("baseline", BASELINES)
def test_a_known_model_is_explained_exactly(method, baseline):
    found = attribute(Corner(), corner_image(), 1, method, baseline)
    assert found.map.shape == (32, 32) and found.map.dtype == np.float32 and found.patches.shape == (4, 4)
    assert np.count_nonzero(found.patches) == 1 and found.patches[3, 3] > 0
    if method != "saliency":  # linear in the image, so each of the others is the whole of the difference
        assert found.patches[3, 3] == pytest.approx(found.score - found.empty, rel=1e-4)
        assert attribute(Corner(), corner_image(), 0, method, baseline).patches[3, 3] == pytest.approx(-found.patches[3, 3])


def test_integrated_gradients_are_complete():
    few, many = (attribute(deep(), IMAGE, 2, steps=n) for n in (2, 100))
    assert few.error == pytest.approx(abs(few.map.sum() - (few.score - few.empty)), abs=1e-5)
    assert few.error > 10 * many.error and many.relative_error < 0.01
    assert few.relative_error == pytest.approx(few.error / abs(few.score - few.empty))
    assert {attribute(deep(), IMAGE, 2, m).error for m in ATTRIBUTIONS if m != "integrated-gradients"} == {None}


def test_a_rough_map_is_taken_again_in_more_steps(monkeypatch):
    assert attribute(deep(), IMAGE, 2).steps == 32
    monkeypatch.setattr("vpt_core.analysis.attribution.ROUGH", 0.0)
    fine = attribute(deep(), IMAGE, 2)
    assert fine.steps == 128 and fine.error < attribute(deep(), IMAGE, 2, steps=8).error and fine.baseline == "mean"
    assert attribute(deep(), IMAGE, 2, steps=8).steps == 8 and attribute(deep(), IMAGE, 2, "saliency").steps == 32


def test_each_method_is_what_it_is_defined_to_be():
    model = deep()
    x = to_pixels(IMAGE[None]).requires_grad_()
    gradient, = torch.autograd.grad(score_of(model, x, 1), x)
    saliency, product = attribute(model, IMAGE, 1, "saliency"), attribute(model, IMAGE, 1, "input-x-gradient", "black")
    assert np.allclose(saliency.map, gradient[0].abs().amax(0), atol=1e-6)
    assert np.allclose(product.map, (gradient * x)[0].sum(0).detach(), atol=1e-6)
    covered = IMAGE.copy()
    covered[16:32, :16] = IMAGE.mean(axis=(0, 1)).round()
    fall = score_of(model, to_pixels(IMAGE[None]), 1) - score_of(model, to_pixels(covered[None]), 1)
    assert attribute(model, IMAGE, 1, "occlusion").patches[1, 0] == pytest.approx(fall.item(), abs=1e-5)


def test_the_score_does_not_change_when_all_logits_do():
    model = deep()
    before = attribute(model, IMAGE, 0)
    with torch.no_grad():
        model.head.weight += torch.randn(32, generator=torch.Generator().manual_seed(0))
    after = attribute(model, IMAGE, 0)
    assert np.allclose(before.map, after.map, atol=1e-5) and before.score == pytest.approx(after.score, abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_tuning_is_explained_and_left_as_it_was(method):
    model = Model(tiny_backbone(), method, FITTING.get(method, {}), classes=3, image_size=SIZE)
    kept, image = weights(model), pictures(labels_of(1))[0]
    for row in ATTRIBUTIONS:
        found = attribute(model, image, 1, row, steps=4)
        assert found.patches.shape == (2, 2) and np.isfinite(found.map).all() and np.abs(found.map).sum() > 0
    assert same(kept, weights(model)) and all(p.grad is None for p in [*model.parameters(), *model.backbone.parameters()])
    assert not any(m._forward_hooks or m._backward_hooks for m in [*model.modules(), *model.backbone.modules()])


@pytest.mark.parametrize("name", TIMM)
def test_every_family_of_backbones_is_explained(name):
    image = pictures(labels_of(1), 64)[0]
    found = attribute(model_of(family(name), "linear"), image, 1, "occlusion", "black")
    assert found.patches.shape == (4, 4) and np.abs(found.patches).sum() > 0


def test_cells_of_any_size_cover_the_image():
    other = SimpleNamespace(card=SimpleNamespace(tokens=lambda size: (size // 16) ** 2))
    cell = cells(other, 50)
    assert cell.shape == (50, 50) and set(np.bincount(cell.ravel())) <= {16 * 16, 16 * 17, 17 * 17}
    assert cell_sums(np.ones((50, 50)), cell).sum() == 2500 and cells(other, 9).max() == 0


@pytest.mark.parametrize(("wrong", "said"), [
    ({"target": 3}, "no class number 3"), ({"method": "lime"}, "no attribution method 'lime'"), ({"steps": 0}, "Steps are 0"),
    ({"baseline": "white"}, "no baseline 'white'"), ({"image": IMAGE[:, :32]}, r"\(48, 32, 3\)"),
    ({"image": IMAGE / 255}, "float64"),
])  # fmt: skip
def test_what_cannot_be_is_refused_in_words(wrong, said):
    with pytest.raises(UserError, match=said):
        attribute(**{"model": deep(), "image": IMAGE, "target": 0} | wrong)


# ---- deletion and insertion

def test_a_true_map_beats_random_and_a_false_one_does_not():
    model, image = Corner(), corner_image()
    true = attribute(model, image, 1, "occlusion").patches
    good, bad = (delete_and_insert(model, image, 1, patches) for patches in (true, -true))
    assert good.beats == (True, True) and "beats random order here, in deletion and in insertion" in good.sentence
    assert bad.beats == (False, False) and "do not believe it" in bad.sentence
    assert good.areas[0] < 0.1 < 0.9 < good.areas[1] and good.random_areas[0].shape == (5,)


def test_curves_begin_and_end_at_the_image_and_the_baseline():
    model = deep()
    tested = delete_and_insert(model, IMAGE, 2, np.arange(9.0), orders=3, points=4)
    assert tested.shares.tolist() == pytest.approx([0, 2 / 9, 4 / 9, 7 / 9, 1]) and tested.random_deletion.shape == (3, 5)
    whole, empty = (model(to_pixels(i[None])).softmax(1)[0, 2].item() for i in (IMAGE, BASELINES["mean"].make(IMAGE)))
    random = zip(tested.random_deletion, tested.random_insertion, strict=True)
    for falls, rises in [(tested.deletion, tested.insertion), *random]:
        assert [falls[0], falls[-1], rises[0], rises[-1]] == pytest.approx([whole, empty, empty, whole], abs=1e-5)
    without = IMAGE.copy()
    without[32:, 16:] = BASELINES["mean"].make(IMAGE)[0, 0]  # the two highest of the map: cells 7 and 8
    assert tested.deletion[1] == pytest.approx(model(to_pixels(without[None])).softmax(1)[0, 2].item(), abs=1e-5)
    with pytest.raises(UserError, match="4 patches, this image 9"):
        delete_and_insert(model, IMAGE, 2, np.zeros((2, 2)))


# ---- prompts

CASES = {"shallow": ("vpt-shallow", {}), "deep": ("vpt-deep", {}), "some layers": ("vpt-deep", {"layers": "2-3"}),
         "shared": ("vpt-deep", {"shared": True}), "added": ("vpt-shallow", {"place": "add"}),
         "pixels": ("vpt-shallow", {"place": "pixel"})}  # fmt: skip
ROWS = {"shallow": ("layer 1",), "deep": ("layer 1", "layer 2", "layer 3", "layer 4"), "some layers": ("layer 2", "layer 3"),
        "shared": ("all layers",), "added": ("layer 1",), "pixels": ("layer 1",)}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_prompts_add_sums_to_the_difference_they_make(case):
    method, options = CASES[case]
    model = Model(tiny_backbone(), method, {"prompts": 3} | options, classes=3, image_size=48)
    kept = weights(model)
    found = attribute_prompts(model, IMAGE, 1, steps=24)
    assert found.rows == ROWS[case] and found.shares.shape == (len(ROWS[case]), 9 if case == "added" else 3)
    assert found.score == pytest.approx(Margin(model, 1).of(IMAGE), abs=1e-5)
    assert found.error < 0.05 * abs(found.score - found.zero)
    assert same(kept, weights(model)) and all(p.grad is None for p in model.parameters())
    with torch.no_grad():
        for p in model.method.parameters():
            p.zero_()
    assert found.zero == pytest.approx(Margin(model, 1).of(IMAGE), abs=1e-5)


def test_prompts_in_windows_are_explained_too():
    model = model_of(family("swin_base_patch4_window7_224"), "vpt-deep", prompts=2)
    found = attribute_prompts(model, pictures(labels_of(1), 64)[0], 1, steps=16)
    assert found.shares.shape == (4, 2) and found.error < 0.05 * abs(found.score - found.zero)


def test_without_prompts_there_is_nothing_to_explain():
    with pytest.raises(UserError, match="Linear probe has no prompts"):
        attribute_prompts(Model(tiny_backbone(), "linear", {}, 3), IMAGE, 0)
    with pytest.raises(UserError, match="0 prompts"):
        attribute_prompts(deep(prompts=0), IMAGE, 0)


# ---- a planted answer

PLANT = 14  # pixels: one patch


def planted(count: int, seed: int, size: int = 56) -> tuple[np.ndarray, np.ndarray]:
    """Coloured squares, 4 x 4, without meaning but for the top right one: red is class 0, blue class 1."""
    labels = np.arange(count, dtype=np.int64) % 2
    rng = np.random.default_rng(seed)
    pixels = rng.integers(60, 200, (count, 4, 4, 3)).repeat(PLANT, 1).repeat(PLANT, 2).astype(np.uint8)
    pixels[:, :PLANT, -PLANT:] = np.array([[220, 40, 40], [40, 60, 220]], np.uint8)[labels][:, None, None]
    return pixels, labels


def in_corner(model: Model, images: np.ndarray, labels: np.ndarray, method: str) -> float:
    """Mean share of a map's absolute mass in the planted corner; by chance it is the corner's share of the area, 1/16."""
    shares = []
    for image, label in zip(images, labels, strict=True):
        mass = np.abs(attribute(model, image, int(label), method, steps=8).map)
        shares.append(mass[:PLANT, -PLANT:].sum() / mass.sum())
    return float(np.mean(shares))


def attention_in_corner(model: Model, images: np.ndarray) -> np.ndarray:
    """Share of the attention to patches that the corner gets in each layer, mean over heads and images, (L,)."""
    seen = np.stack([read_attention(model, image).patches for image in images]).mean(axis=2)  # (N, L, gh, gw)
    return (seen[:, :, 0, -1] / seen.sum(axis=(2, 3))).mean(axis=0)


@pytest.mark.slow
def test_a_planted_answer_is_found():
    """After tuning, maps and attention point to the corner that says the class, far more than chance and than before."""
    backbone = load_backbone("vit-s14-saliency")
    spec = Spec(method="vpt-deep", options={"prompts": 4}, image_size=56, epochs=6, batch_size=8)
    tuned, untuned = (Model(backbone, spec.method, spec.options, 2, 0, 56) for _ in range(2))
    train, val = (drain(feed(tuned, *planted(n, seed))) for n, seed in ((32, 0), (16, 1)))
    *_, last = fit(tuned, train, val, spec)
    assert last.val_correct == 16
    images, labels = planted(2, 2)
    chance = 1 / 16
    for method, least in (("integrated-gradients", 4), ("occlusion", 5), ("saliency", 2)):
        after, before = (in_corner(model, images, labels, method) for model in (tuned, untuned))
        assert after > least * chance and after > 1.4 * before, (method, after, before)
    after, before = (attention_in_corner(model, images) for model in (tuned, untuned))
    assert after.max() > 5 * chance and after[8:11].mean() > 1.5 * before[8:11].mean()
