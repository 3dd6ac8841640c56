"""The prompt file: whole and small, and anything else that calls itself one is refused in a sentence."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import FITTING, RANDOM, SIZE, same, weights
from torch import Tensor

from vpt_core import files, prompt_file, tune
from vpt_core.backbones import load_backbone
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.model import Model
from vpt_core.prompt_file import load_prompt, read_about, save_prompt
from vpt_core.runs import Run
from vpt_core.spec import Spec

BAD = Path(__file__).parents[2] / "shared" / "bad_uploads" / "models"
CANARY = Path("/tmp/vpt-canary-executed")  # what the pickles among them would make if anything ran them
KEY = "visual_prompt_tuning"


def parts(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What a prompt file says of itself, and its tensors."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[KEY]), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture
def forged(finished_run: Run, tmp_path: Path):
    """Write a good prompt file again with changes: to what it says, in the text of that, or to its tensors."""

    def write(about: dict[str, Any] | None = None, text: str | None = None, drop: str = "", **tensors: Tensor) -> Path:
        said, held = parts(finished_run.prompt_file)
        held = {name: t for name, t in held.items() if name != drop} | {k.replace("__", "."): t for k, t in tensors.items()}
        save_file(held, tmp_path / "forged.safetensors", {KEY: text or json.dumps(said | (about or {}))})
        return tmp_path / "forged.safetensors"

    return write


def refuse(path: Path, words: str = ".") -> str:
    """Check that loading is refused with `words`, briefly, and that nothing was executed."""
    with pytest.raises(UserError, match=words) as error:
        load_prompt(path)
    assert len(str(error.value)) < 700 and not CANARY.exists()
    return str(error.value)


def test_it_says_what_it_is(finished_run):
    about, tensors = parts(finished_run.prompt_file)
    assert about == {
        "backbone": RANDOM, "weights_hash": load_backbone(RANDOM).weights_hash, "method": "vpt-deep",
        "options": {"prompts": 2, "dropout": 0.1, "place": "prepend", "readout": "default", "init": "uniform", "layers": "all",
                    "shared": False}, "classes": ["a", "b", "c"], "image_size": SIZE,
        "task": "Small", "seed": 4, "library": "0.1.0", "format": 1,
        "metrics": {"test": {"correct": finished_run.test.correct, "total": 6}},
        "preprocessing": {"squash": [224, SIZE], "filter": "bicubic", "mean": [0.5] * 3, "std": [0.5] * 3},
    }  # fmt: skip
    assert set(tensors) == {"head.weight", "head.bias", "method.prompts"}


def test_a_forged_file_without_changes_is_a_good_one(forged, finished_run):
    pixels = np.zeros((2, SIZE, SIZE, 3), np.uint8)
    assert (load_prompt(forged()).logits(pixels) == finished_run.classifier().logits(pixels)).all()


def test_what_it_holds_is_what_the_model_learned(finished_run):
    classifier = finished_run.classifier()
    _, tensors = parts(finished_run.prompt_file)
    assert same(weights(classifier.model), tensors)
    assert not classifier.model.training


def test_many_on_one_backbone(finished_run, forged):
    one, two = load_prompt(finished_run.prompt_file), load_prompt(forged(head__bias=torch.tensor([9.0, 0.0, 0.0])))
    assert one.model.backbone is two.model.backbone
    pixels = np.full((1, SIZE, SIZE, 3), 100, np.uint8)
    before = one.logits(pixels)
    assert two.logits(pixels)[0, 0] > 8 and (one.logits(pixels) == before).all()


def test_saving_is_whole_or_not_at_all(finished_run, tmp_path, monkeypatch):
    classifier, path = finished_run.classifier(), tmp_path / "x.safetensors"
    save_prompt(path, classifier.model, classifier.about)
    before = path.read_bytes()

    def full_disk(number):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError):
        save_prompt(path, classifier.model, classifier.about)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before and load_prompt(path).classes == ("a", "b", "c")


def test_images_are_brought_to_the_models_size(finished_run):
    classifier = finished_run.classifier()
    large = np.random.default_rng(0).integers(0, 256, (3, 2 * SIZE, 2 * SIZE, 3), dtype=np.uint8)
    small = np.stack([np.asarray(Image.fromarray(i).resize((SIZE, SIZE), Image.Resampling.BICUBIC)) for i in large])
    assert (classifier.logits(large) == classifier.logits(small)).all()
    assert classifier.logits(large[:0]).shape == (0, 3) and classifier.predict([]).shape == (0, 3)


def test_more_images_than_a_batch(finished_run, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (9, SIZE, SIZE, 3), dtype=np.uint8)
    whole = finished_run.classifier().logits(pixels)
    monkeypatch.setattr(prompt_file, "EVAL_BATCH", 4)
    assert np.allclose(finished_run.classifier().logits(pixels), whole, atol=1e-6) and whole.shape == (9, 3)


def test_image_files_and_their_bytes_are_predicted(finished_run, tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (50, 40), "orange").save(out, "PNG")
    (tmp_path / "o.png").write_bytes(out.getvalue())
    classifier = finished_run.classifier()
    shares = classifier.predict([tmp_path / "o.png", str(tmp_path / "o.png"), out.getvalue()])
    assert shares.shape == (3, 3) and np.allclose(shares.sum(1), 1) and (shares == shares[0]).all()
    for bad in (b"text", tmp_path / "none.png"):
        with pytest.raises(UserError):
            classifier.predict([bad])


@pytest.mark.parametrize("data", [b"", b"abc", b"\x80\x04pickle.", b"PK\3\4" + bytes(100), b"\xff" * 64, bytes(64)])
def test_garbage(data, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    refuse(path, "x.safetensors is not a valid safetensors file")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.99])
def test_truncated(share, finished_run, tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(finished_run.prompt_file.read_bytes()[: int(share * finished_run.prompt_file.stat().st_size)])
    refuse(path, "not a valid safetensors file")


def test_a_kind_of_numbers_that_torch_does_not_know(tmp_path):
    header = json.dumps({"a": {"dtype": "F6_E2M3", "shape": [16], "data_offsets": [0, 12]}}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(12))
    refuse(path, "not a valid safetensors file")


def test_nothing_there_or_too_large(tmp_path, finished_run, monkeypatch):
    refuse(tmp_path / "nothing", "There is no file 'nothing' here")
    refuse(tmp_path, "There is no file")
    monkeypatch.setattr(prompt_file, "MAX_BYTES", finished_run.prompt_file.stat().st_size - 1)
    refuse(finished_run.prompt_file, "at most")


def test_the_weights_of_something_else(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"head.weight": torch.zeros(3, 64)}, path)
    refuse(path, "not a prompt file: it does not say what it was tuned on")
    save_file({"head.weight": torch.zeros(3, 64)}, path, {"format": "pt", "prompts": "{}"})
    refuse(path, "not a prompt file")


TENSORS = {
    "wrong shape": ({"method__prompts": torch.zeros(6, 3, 64)}, "method.prompts as torch.float32 .6, 3, 64.; this model needs"),
    "wrong head": ({"head__weight": torch.zeros(4, 64)}, "head.weight as torch.float32 .4, 64."),
    "wrong dtype": ({"method__prompts": torch.zeros(6, 2, 64, dtype=torch.float16)}, "torch.float16 .* needs torch.float32"),
    "integers": ({"head__bias": torch.zeros(3, dtype=torch.int64)}, "torch.int64"),
    "NaN": ({"method__prompts": torch.full((6, 2, 64), float("nan"))}, "numbers in method.prompts that are not finite"),
    "infinity": ({"head__bias": torch.tensor([0.0, float("inf"), 0.0])}, "numbers in head.bias that are not finite"),
    "one too many": ({"extra": torch.zeros(1)}, "holds extra, head.bias.*; VPT-deep needs head.bias"),
    "the backbone's": ({"backbone__cls_token": torch.zeros(1, 1, 64)}, "VPT-deep needs"),
    "a long name": ({"x" * 10_000: torch.zeros(1)}, "VPT-deep needs"),
    "none of the prompts": ({"drop": "method.prompts"}, "VPT-deep needs"),
    "no head": ({"drop": "head.bias"}, "no head"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_that_do_not_fit(case, forged):
    changes, words = TENSORS[case]
    refuse(forged(**changes), words)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


ABOUT = {
    "other weights": ({"weights_hash": "0" * 64}, "tuned on other weights, of test_vit.*hash 000000000000"),
    "unknown backbone": ({"backbone": "vit-xxl"}, "There is no backbone"),
    "a path for a backbone": ({"backbone": "../../etc/passwd"}, "There is no backbone"),
    "unknown method": ({"method": "vpt-deap"}, "There is no method 'vpt-deap'. Did you mean"),
    "another method": ({"method": "linear", "options": {}}, "Linear probe needs head.bias, head.weight"),
    "unknown option": ({"options": {"colour": 3}}, "has no option 'colour'"),
    "option of another type": ({"options": {"prompts": "2"}}, "Prompt tokens is '2'"),
    "too many prompts": ({"options": {"prompts": 10**9}}, "Prompt tokens"),
    "a number beyond all": ({"options": {"dropout": 10**400}}, "Prompt dropout"),
    "nested option": ({"options": {"prompts": nested(300)}}, "options that are neither"),
    "null option": ({"options": {"prompts": None}}, "options that are neither"),
    "long option": ({"options": {"layers": "1," * 10_000}}, "name of 20,000 characters"),
    "long option name": ({"options": {"x" * 10_000: 1}}, "name of 10,000 characters"),
    "long backbone": ({"backbone": "v" * 10_000}, "name of 10,000 characters"),
    "long method": ({"method": "v" * 10_000}, "name of 10,000 characters"),
    "long class": ({"classes": ["a", "b", "c" * 10_000]}, "name of 10,000 characters"),
    "no layers": ({"options": {"prompts": 2, "layers": "9"}}, "Prompted layers"),
    "huge images": ({"image_size": 4096}, "Image size is 4096"),
    "tiny images": ({"image_size": 0}, "Image size is 0"),
    "a size that does not divide": ({"image_size": 40}, "40 is no multiple"),
    "size as text": ({"image_size": "32"}, "image_size as '32'; it has to be of type int"),
    "true for a number": ({"image_size": True}, "image_size as 'True'"),
    "seed": ({"seed": -1}, "Seed is -1"),
    "huge seed": ({"seed": 2**70}, "Seed is"),
    "one class": ({"classes": ["a"]}, "two classes or more"),
    "numbers for classes": ({"classes": [1, 2, 3]}, "two classes or more"),
    "classes as text": ({"classes": "abc"}, "classes as 'abc'"),
    "other number of classes": ({"classes": ["a", "b"]}, "names 2 classes, and has no head for so many"),
    "a hundred thousand classes": ({"classes": ["a"] * 100_000}, "names 100000 classes"),
    "nested class": ({"classes": ["a", "b", nested(300)]}, "two classes or more"),
    "metrics": ({"metrics": [1]}, "metrics as"),
    "later format": ({"format": 2}, "has format 2; this version reads format 1"),
    "other preprocessing": ({"preprocessing": {"squash": [256], "filter": "bicubic"}}, "prepared as .*256.*; here they are"),
    "preprocessing as text": ({"preprocessing": "bicubic"}, "preprocessing as 'bicubic'; it has to be of type dict"),
    "something more": ({"hook": "os.system"}, "description that is not a prompt file's"),
    "null": ({"task": None}, "task as 'None'"),
}


@pytest.mark.parametrize("case", ABOUT)
def test_a_description_that_cannot_be(case, forged):
    changes, words = ABOUT[case]
    refuse(forged(changes), words)


TEXTS = {
    "no JSON": "{", "a list": "[]", "a number": "3", "nothing": "null", "an empty object": "{}", "deep": "[" * 100_000,
    "deep object": '{"a":' * 50_000, "long number": "9" * 100_000, "long": '"' + "x" * 4_000_001 + '"', "NaN": "NaN",
}  # fmt: skip


@pytest.mark.parametrize("case", TEXTS)
def test_a_description_that_is_none(case, forged):
    refuse(forged(text=TEXTS[case]))


def test_a_missing_field(forged, finished_run):
    said, _ = parts(finished_run.prompt_file)
    for name in said.keys() - {"preprocessing"}:
        refuse(forged(text=json.dumps({k: v for k, v in said.items() if k != name})), "it needs backbone, weights_hash")


def test_a_file_from_before_preprocessing_was_recorded_still_loads(forged, finished_run):
    said, _ = parts(finished_run.prompt_file)
    del said["preprocessing"]
    assert load_prompt(forged(text=json.dumps(said))).about.preprocessing == {}


def test_a_backbone_of_other_weights_is_refused_also_when_given(finished_run):
    with pytest.raises(UserError, match="Load the backbone it was tuned on"):
        load_prompt(finished_run.prompt_file, load_backbone("vit_tiny_patch16_224:random"))


def test_refusing_changes_nothing(forged, finished_run):
    backbone, classifier = load_backbone(RANDOM), finished_run.classifier()
    before, state = weights(backbone), weights(classifier.model)
    random = torch.random.get_rng_state()
    for changes, _ in TENSORS.values():
        refuse(forged(**changes))
    assert same(weights(backbone), before) and same(weights(classifier.model), state)
    assert torch.equal(torch.random.get_rng_state(), random)


def test_names_cannot_steer_a_terminal_or_break_a_page(forged):
    classes = ["\x1b[31mred", "a\ud800b", "  "]
    classifier = load_prompt(forged({"classes": classes, "task": "x\x07y"}))
    assert classifier.classes == ("[31mred", "a\ufffdb", "unnamed") and classifier.about.task == "xy"


def test_every_method_and_option_round_trips(tmp_path):
    """What `save_prompt` writes, `load_prompt` reads."""
    backbone = load_backbone(RANDOM)
    special = {"vpt-shallow": {"prompts": 0}, "vpt-deep": {"layers": "2,6", "prompts": 3, "shared": True}, **FITTING}
    for method in METHODS:
        options = special.get(method, {})
        model = Model(backbone, method, options, classes=2, seed=Spec().seed, image_size=SIZE)
        about = prompt_file.About(RANDOM, backbone.weights_hash, method, options, ["x", "y"], SIZE, "t", 0, "0.1.0")
        save_prompt(tmp_path / "x.safetensors", model, about)
        loaded = load_prompt(tmp_path / "x.safetensors")
        assert same(weights(loaded.model), weights(model)) and loaded.about == about


@pytest.mark.skipif(not BAD.is_dir(), reason="the collection of bad uploads is not beside the repository")
def test_the_collection_of_bad_uploads():
    files = sorted(BAD.iterdir())
    assert len(files) > 10
    for path in files:
        refuse(path)


def test_a_file_names_no_folder_of_the_weights_it_was_tuned_on(small_spec, tmp_path):
    file = tmp_path / "private" / "mine.safetensors"
    file.parent.mkdir()
    save_file({name: t.clone() for name, t in load_backbone(RANDOM).net.state_dict().items()}, file)
    run = tune(replace(small_spec, backbone=f"test_vit:{file}"), tmp_path / "runs")
    assert read_about(run.prompt_file).backbone == "test_vit:mine.safetensors"
    assert b"private" not in run.prompt_file.read_bytes()
    assert len(run.classifier().classes) == len(run.status["classes"])
