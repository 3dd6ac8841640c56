"""Many tasks on one backbone: a mixed batch gives each image what its own model gives it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from test_families import family
from tiny import FITTING, KINDS, RANDOM, SIZE, pictures, tiny_backbone

from vpt_core import Many, load_prompts
from vpt_core.__main__ import main
from vpt_core.backbones import Backbone, describe, load_backbone, wrap
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.metrics import softmax
from vpt_core.model import Model
from vpt_core.prompt_file import About, save_prompt

TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "deep": ("vpt-deep", {"prompts": 3}),
    "deep, longer": ("vpt-deep", {"prompts": 7, "shared": True}),
    "last layers": ("vpt-deep", {"prompts": 2, "layers": "last 2"}),
    "layers 1 and 3": ("vpt-deep", {"prompts": 4, "layers": "1,3"}),
    "layer 2": ("vpt-deep", {"prompts": 1, "layers": "2"}),
    "shallow": ("vpt-shallow", {"prompts": 5}),
    "shallow, longer": ("vpt-shallow", {"prompts": 6}),
    "none": ("vpt-deep", {"prompts": 0}),
    "none, shallow": ("vpt-shallow", {"prompts": 0}),
    "linear": ("linear", {}),
    "mlp": ("mlp", {"hidden_layers": 2}),
    "mean of prompts": ("vpt-deep", {"prompts": 2, "readout": "prompts"}),
    "mean of image": ("vpt-deep", {"prompts": 2, "readout": "mean"}),
    "added": ("vpt-deep", {"place": "add", "layers": "1,2"}),
    "pixels": ("vpt-shallow", {"prompts": 2, "place": "pixel"}),
}
"""Every kind of task that can share a pass; each gets a number of classes of its own."""
IN_SWIN = {name: task for name, task in TASKS.items() if not {"place", "readout"} & task[1].keys()}
"""Those of them that there are in a Swin too."""
ROOT = Path(__file__).parents[1]
SWIN = "swin_base_patch4_window7_224"
ALONE = ("partial", "bias", "adapter", "lora", "sidetune", "full", "vpt-frame")
EXACT = {"rtol": 0, "atol": 1e-5}


def file_of(folder: Path, backbone: Backbone, method: str, options: dict[str, Any], classes: int, title: str = "",
            size: int = SIZE) -> Path:
    """A prompt file whose every number is drawn far from where training would begin."""
    model = Model(backbone, method, options, classes, seed=classes, image_size=size)
    generator = torch.Generator().manual_seed(classes)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.rand(p.shape, generator=generator) - 0.5, alpha=0.4)
        for p in (b for b in model.buffers() if b.is_floating_point()):  # running statistics; a variance stays positive
            p.add_(torch.rand(p.shape, generator=generator))
    names = [f"{title} {k}" for k in range(classes)]
    about = About(backbone.name, backbone.weights_hash, method, options, names, size, title or method, 0, "0.1.0")
    path = folder / f"{method}-{title}-{classes}.safetensors"
    save_prompt(path, model, about)
    return path


def many_of(folder: Path, backbone: Backbone, tasks: dict[str, tuple[str, dict[str, Any]]] = TASKS, size: int = SIZE) -> Many:
    files = [file_of(folder, backbone, *task, 2 + k, title, size) for k, (title, task) in enumerate(tasks.items())]
    return load_prompts(files, backbone)


def images(count: int, size: int = SIZE) -> np.ndarray:
    return pictures(np.arange(count), size, seed=3)


def check_mixed(many: Many, tasks: list[str], size: int = SIZE) -> None:
    """One pass says of each image what the model of its task says of it alone."""
    pixels = images(len(tasks), size)
    rows = many.logits(pixels, tasks)
    assert len(rows) == len(tasks)
    for row, name, image in zip(rows, tasks, pixels, strict=True):
        alone = many.classifier(name)
        assert row.dtype == np.float32 and row.shape == (len(alone.classes),)
        np.testing.assert_allclose(row, alone.logits(image[None])[0], **EXACT, err_msg=name)


def shuffled(names: tuple[str, ...], each: int = 2) -> list[str]:
    return np.random.default_rng(0).permutation(np.repeat(names, each)).tolist()


def distilled() -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        shape = {"embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 0, "img_size": SIZE}
        net = timm.create_model("deit_tiny_distilled_patch16_224", **shape)
    return wrap(net, describe(net, "distilled"))


@pytest.mark.parametrize("kind", [*KINDS, "distilled"])
def test_a_mixed_batch_equals_one_by_one(kind, tmp_path):
    """All kinds of prompts and heads, of different lengths and class counts, in one batch."""
    backbone = distilled() if kind == "distilled" else tiny_backbone(**KINDS[kind])
    many = many_of(tmp_path, backbone)
    assert many.names == tuple(TASKS)
    check_mixed(many, shuffled(many.names))


@pytest.mark.parametrize("size", [64, 48, 52])  # windows divide all maps; only the first; none, and merging pads them as well
def test_a_mixed_batch_in_a_swin_equals_one_by_one(size, tmp_path):
    swin = family(SWIN)
    assert any(any(swin.stages[i].shift_size) for i in swin.layers)
    many = many_of(tmp_path, swin, IN_SWIN, size)
    assert many.passes() == [list(IN_SWIN)]
    check_mixed(many, shuffled(many.names), size)


@pytest.mark.parametrize("names", [
    ["deep", "deep"], ["deep", "linear"], ["deep", "deep, longer"], ["shallow", "shallow, longer"], ["shallow", "linear"],
    ["shallow", "deep"], ["linear", "mlp", "none", "none, shallow"], ["layers 1 and 3", "layer 2"], ["last layers", "mlp"],
    ["layer 2", "last layers"], ["shallow, longer", "last layers", "deep, longer"],
])  # fmt: skip
def test_smaller_mixtures_in_a_swin(names, tmp_path):
    check_mixed(many_of(tmp_path, family(SWIN), IN_SWIN, 48), names, 48)


def test_a_swin_is_run_once(tmp_path):
    swin = family(SWIN)
    many = many_of(tmp_path, swin, IN_SWIN, 48)
    seen: list[int] = []
    note = lambda module, inputs, x: seen.append(len(x)) if x.ndim == 4 else None  # noqa: E731  (maps, not prompts)
    for block in (swin.net.patch_embed, *swin.blocks):
        getattr(block, "norm1", block).register_forward_hook(note)  # prompted blocks are not called as a whole
    many.logits(images(len(IN_SWIN), 48), list(IN_SWIN))
    assert seen == [len(IN_SWIN)] * (1 + len(swin.blocks))


@pytest.mark.parametrize("names", [
    ["deep", "deep", "deep"], ["deep", "linear"], ["deep", "last layers", "deep, longer"], ["shallow", "shallow, longer"],
    ["shallow", "deep"], ["linear", "mlp", "none"], ["layers 1 and 3", "layer 2"], ["mean of prompts"], ["added", "linear"],
])  # fmt: skip
def test_smaller_mixtures(names, tmp_path):
    """Where masks, empty places or the short last layer come in or fall away."""
    check_mixed(many_of(tmp_path, tiny_backbone()), names)


def test_each_image_gets_its_own_prompts(tmp_path):
    """The same image under two tasks of equal shape differs, and in either order the same way."""
    backbone = tiny_backbone()
    many = load_prompts([file_of(tmp_path, backbone, "vpt-deep", {"prompts": 3}, 4, "A")], backbone)
    other = file_of(tmp_path, backbone, "vpt-deep", {"prompts": 3}, 5, "B")
    many.add(other)
    same = np.repeat(images(1), 2, axis=0)
    (a, b), (b_first, a_last) = many.logits(same, ["A", "B"]), many.logits(same, ["B", "A"])
    np.testing.assert_allclose(a, a_last, **EXACT)
    np.testing.assert_allclose(b, b_first, **EXACT)
    assert np.abs(a - b[:4]).max() > 1e-2


def test_the_backbone_is_run_once(tmp_path, monkeypatch):
    backbone = tiny_backbone()
    many = many_of(tmp_path, backbone)
    seen: list[int] = []
    for block in backbone.blocks:
        block.norm2.register_forward_hook(lambda module, inputs, _: seen.append(len(inputs[0])))
    many.logits(images(len(TASKS)), list(TASKS))
    assert seen == [len(TASKS)] * backbone.depth


def test_prompts_become_keys_and_values_only_at_load(tmp_path, monkeypatch):
    many = many_of(tmp_path, tiny_backbone(), {name: TASKS[name] for name in ("deep", "shallow")})
    for name in many.names:
        monkeypatch.setattr(many.model(name).method, "own", None)  # whoever asks for prompts now fails
    many.logits(images(2), ["deep", "shallow"])


def test_swapping_copies_nothing(tmp_path):
    backbone = tiny_backbone()
    before = [t.data_ptr() for t in (*backbone.parameters(), *backbone.buffers())]
    many = many_of(tmp_path, backbone)
    for name in many.names:
        model = many.model(name)
        assert model.backbone is backbone
        assert not {p.data_ptr() for p in model.parameters()} & set(before)
    assert [t.data_ptr() for t in (*backbone.parameters(), *backbone.buffers())] == before


def test_adding_and_removing(tmp_path):
    backbone = tiny_backbone()
    path = file_of(tmp_path, backbone, "linear", {}, 3, "Flowers")
    many = Many(backbone)
    assert [many.add(path), many.add(path), many.add(path, "mine")] == ["Flowers", "Flowers (2)", "mine"]
    with pytest.raises(UserError, match="task 'mine' already"):
        many.add(path, "mine")
    many.remove("Flowers")
    assert many.names == ("Flowers (2)", "mine")
    assert many.add(path) == "Flowers"
    for wrong in (many.remove, many.model):
        with pytest.raises(UserError, match="no task 'cars' here. Choose one of: Flowers \\(2\\), mine, Flowers"):
            wrong("cars")
    with pytest.raises(UserError, match="none is loaded yet"):
        Many().model("cars")


def test_the_first_file_names_the_backbone(tmp_path):
    path = file_of(tmp_path, load_backbone(RANDOM), "linear", {}, 2)
    assert load_prompts([path, path]).backbone is load_backbone(RANDOM)


def test_files_of_another_backbone_are_refused(tmp_path):
    here, there = tiny_backbone(), tiny_backbone(qk_norm=True)
    many = many_of(tmp_path, here, {"deep": TASKS["deep"]})
    there.name = "elsewhere"
    with pytest.raises(UserError, match="was tuned on other weights, of elsewhere .*; here is tiny.*Load the backbone it was"):
        many.add(file_of(tmp_path, there, "linear", {}, 2))
    assert many.names == ("deep",)


def test_methods_that_change_the_backbone_are_refused_in_a_mixed_pass_and_answer_alone(tmp_path):
    backbone = tiny_backbone()
    tasks = {name: (name, FITTING.get(name, {})) for name in ("linear", *ALONE)}
    many = many_of(tmp_path, backbone, tasks)
    for name in ALONE:
        with pytest.raises(UserError, match=rf"'{name}' \({METHODS[name].title}\) cannot share a pass on .* or use answer"):
            many.logits(images(2), ["linear", name])
    assert sorted(map(tuple, many.passes())) == sorted((name,) for name in many.names)
    photo = images(1)[0]
    for name, shares in many.answer(photo).items():
        np.testing.assert_allclose(shares, softmax(many.classifier(name).logits(photo[None]))[0], **EXACT)


def test_every_method_shares_a_pass_or_says_so(tmp_path):
    tasks = {name: (name, FITTING.get(name, {})) for name in METHODS}
    many = many_of(tmp_path, tiny_backbone(), tasks)
    shared = next(names for names in many.passes() if len(names) > 1)
    assert set(shared) == set(METHODS) - set(ALONE)


def test_backbones_that_are_no_standard_vit(tmp_path):
    """Heads share a pass on any of them; prompts are refused where a ViT's blocks are others."""
    many = many_of(tmp_path, load_backbone("test_convnext:random"), {"linear": ("linear", {}), "mlp": ("mlp", {})})
    check_mixed(many, ["linear", "mlp", "linear"])
    parallel = tiny_backbone(block_fn=timm.models.vision_transformer.ParallelThingsBlock)
    many = many_of(tmp_path, parallel, {"linear": ("linear", {}), "deep": ("vpt-deep", {"prompts": 2})})
    with pytest.raises(UserError, match="'deep' \\(VPT-deep\\) cannot share a pass"):
        many.logits(images(2), ["linear", "deep"])


def test_what_cannot_be_one_pass(tmp_path):
    backbone = tiny_backbone()
    many = load_prompts([file_of(tmp_path, backbone, "linear", {}, 2, "small"),
                         file_of(tmp_path, backbone, "vpt-deep", {"prompts": 2}, 3, "large", 64)], backbone)
    with pytest.raises(UserError, match="'small' at 32 pixels a side, 'large' at 64 .* use answer"):
        many.logits(images(2), ["small", "large"])
    with pytest.raises(UserError, match="1 images and 2 tasks"):
        many.logits(images(1), ["small", "small"])
    assert many.logits(images(0), []) == []


def test_one_photo_for_all_tasks(tmp_path):
    """Each task sees the photo at its own size; names keep their order; what `predict` says is what is said."""
    backbone = tiny_backbone()
    shapes = [("A", 32, "vpt-deep"), ("B", 64, "vpt-deep"), ("C", 32, "bias"), ("D", 32, "linear"), ("E", 64, "vpt-shallow")]
    files = [file_of(tmp_path, backbone, method, {}, 2 + k, name, size) for k, (name, size, method) in enumerate(shapes)]
    many = load_prompts(files, backbone)
    assert sorted(many.passes()) == [["A", "D"], ["B", "E"], ["C"]]
    path = tmp_path / "photo.png"
    Image.fromarray(pictures(np.zeros(1, int), 90)[0]).save(path)
    said = many.answer(path)
    assert tuple(said) == many.names
    for name, shares in said.items():
        np.testing.assert_allclose(shares, many.classifier(name).predict([path])[0], **EXACT)
    assert all(np.array_equal(said[name], shares) for name, shares in many.answer(path.read_bytes()).items())
    with pytest.raises(UserError, match="This image cannot be used"):
        many.answer(b"no image")


def test_nothing_loaded_answers_nothing():
    assert Many().answer(images(1)[0]) == {} and Many().passes() == []


def test_the_command(finished_run, tmp_path, capsys):
    """Runs and prompt files mixed; each line says what `predict` says of that task."""
    photo = tmp_path / "photo.png"
    Image.fromarray(images(1)[0]).save(photo)
    cars = file_of(tmp_path, load_backbone(RANDOM), "linear", {}, 2, "Cars")
    assert main(["answer", str(photo), str(finished_run.folder), str(cars)]) == 0
    assert main(["predict", str(finished_run.folder), str(photo)]) == 0
    assert main(["predict", str(cars), str(photo)]) == 0
    small, other, *alone = capsys.readouterr().out.splitlines()
    said = [line.removeprefix(f"{photo}: ") for line in alone]
    assert [small, other] == [f"Small (VPT-deep): {said[0]}", f"Cars (Linear probe): {said[1]}"]
    assert main(["answer", str(photo), str(tmp_path)]) == 2
    assert "There is no file 'tuned.safetensors' here." in capsys.readouterr().err


def test_the_readme_shows_what_was_measured():
    benchmark = runpy.run_path(str(ROOT / "benchmarks" / "many_tasks.py"))
    assert benchmark["table"](benchmark["recorded"]()) in (ROOT / "README.md").read_text(encoding="utf-8")
