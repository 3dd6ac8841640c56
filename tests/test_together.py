"""All tasks at once in Try it: which runs are asked, what strangers may add, and what is shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_many import file_of
from timm.models.vision_transformer import ParallelThingsBlock
from tiny import RANDOM, pictures, tiny_backbone

from app import results, settings, together
from app.tabs import together as section
from app.tabs import tryit
from vpt_core.backbones import load_backbone
from vpt_core.methods import METHODS
from vpt_core.runs import Run, write_json

PHOTO = pictures(np.zeros(1, int))[0]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty runs folder without recorded runs."""
    monkeypatch.setattr(settings, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(results, "RECORDED", tmp_path / "none")
    together._load.cache_clear()
    (tmp_path / "runs").mkdir()
    return tmp_path / "runs"


@pytest.fixture
def run_of(runs: Path, finished_run: Run):
    """A finished run of a made-up task: the fixture's files under another name, accuracy and method."""

    def make(name: str, task: str, correct: int, method: str = "vpt-deep") -> Run:
        folder = Path(shutil.copytree(finished_run.folder, runs / name))
        if method != "vpt-deep":
            options = {}
            write_json(folder / "spec.json", finished_run.spec.to_json() | {"method": method, "options": options})
            made = file_of(folder, load_backbone(RANDOM), method, options, 3)
            made.replace(folder / "tuned.safetensors")
        changes = {"task_title": task, "task_fingerprint": task * 64, "test": {"correct": correct, "total": 6}}
        write_json(folder / "status.json", Run(folder).status | changes)
        return Run(folder)

    return make


def test_the_best_run_of_each_task_that_can_share_a_pass(run_of):
    run_of("1", "x", 2)
    run_of("2", "x", 5, "linear")
    run_of("3", "x", 4, "mlp")
    run_of("4", "x", 6, "bias")
    run_of("5", "y", 0, "vpt-shallow")
    chosen = together.best_runs(results.card(RANDOM).name)
    assert sorted(run.name for run in chosen) == ["2", "5"] and together.best_runs("vit-s14-saliency") == []


@pytest.mark.parametrize("method", METHODS)
def test_what_is_asked_can_share_a_pass(method, run_of):
    """The page decides by the method, the library by the model: they agree."""
    if method == "vpt-frame":
        return  # its default frame does not fit this backbone's patches
    run = run_of("1", "x", 1, method)
    asked = together.asked(None, [str(run.prompt_file)])
    assert [one.name for one in together.best_runs(results.card(RANDOM).name)] == [run.name] * len(asked.added)
    assert len(asked.many.passes()) == bool(asked.added)


def test_the_answers(run_of, tmp_path):
    run = run_of("1", "x", 3)
    file = file_of(tmp_path, load_backbone(RANDOM), "linear", {}, 4, "Cars")
    value = section.show(None, PHOTO, [str(file)])
    assert value["said"].startswith("2 tasks, one pass, ") and value["left_out"] == []
    first, second = value["rows"]
    shares = run.classifier().logits(PHOTO[None])[0]
    assert first["best"] == run.classes[shares.argmax()] and first["task"] == "Small" and first["how"] == "VPT-deep, 32 px"
    assert (second["task"], second["how"]) == ("Cars", "Linear probe, 32 px, your file")
    assert 0 < second["share"] <= 1 and second["best"].startswith("Cars ")
    assert json.loads(json.dumps(value)) == value


def test_without_a_photo_or_a_run(runs, run_of, tmp_path):
    file = str(file_of(tmp_path, load_backbone(RANDOM), "linear", {}, 4, "Cars"))
    assert section.show(None, PHOTO, [file]) is None
    run_of("1", "x", 3)
    assert section.show(None, None, None) is None
    assert section.show(None, None, [file]) == {"said": "2 tasks, one pass; choose an image", "rows": [], "left_out": []}


def test_files_that_are_refused_do_not_stop_the_others(run_of, tmp_path, monkeypatch):
    run_of("1", "x", 3)
    backbone, broken = load_backbone(RANDOM), tmp_path / "broken.safetensors"
    broken.write_bytes(b"no safetensors")
    good = file_of(tmp_path, backbone, "vpt-deep", {"prompts": 4}, 2, "Good")
    large = file_of(tmp_path, backbone, "linear", {}, 2, "Large", 1024)
    alone = file_of(tmp_path, backbone, "bias", {}, 2)
    other = file_of(tmp_path, load_backbone("test_vit2:random"), "linear", {}, 3, "other")
    monkeypatch.setattr(together, "MOST_MB", max(f.stat().st_size for f in (good, large, alone, other)) / 1e6)
    heavy = file_of(tmp_path, backbone, "full", {}, 2)
    files = [broken, other, large, alone, heavy, tmp_path / "gone.safetensors", good]
    value = section.show(None, PHOTO, [str(file) for file in files])
    assert [row["task"] for row in value["rows"]] == ["Small", "Good"]
    words = ["not a valid safetensors file", "was tuned on other weights", "at 1024 pixels a side; here 224 are taken at most",
             "is Bias, which changes the model", "MB are taken at most", "There is no file 'gone.safetensors'"]
    assert len(value["left_out"]) == len(words)
    for sentence, said in zip(value["left_out"], words, strict=True):
        assert said in sentence


@pytest.mark.parametrize(("kind", "said"), [("swin", "2 tasks, one pass,"), ("parallel", "2 tasks, 2 passes: prompts in")])
def test_prompts_are_taken_also_where_each_needs_a_pass_of_its_own(kind, said, tmp_path):
    swin = kind == "swin"
    backbone = load_backbone("swin_tiny_patch4_window7_224:random") if swin else tiny_backbone(block_fn=ParallelThingsBlock)
    many = together.Many(backbone)
    for k in range(2):
        together._add_strangers(many, file_of(tmp_path, backbone, "vpt-deep", {"prompts": 2 + k}, 2 + k, "Swum"))
    asked = together.Asked(many, many.names, ())
    value = together.answers(asked, PHOTO)
    assert value["said"].startswith(said)
    assert [row["task"] for row in value["rows"]] == ["Swum", "Swum (2)"] and json.loads(json.dumps(value)) == value


def test_a_strangers_file_never_names_a_backbone_to_load(run_of, tmp_path, monkeypatch):
    run_of("1", "x", 3)
    file = file_of(tmp_path, load_backbone("test_vit2:random"), "linear", {}, 3)
    asked = []
    monkeypatch.setattr(together, "load_backbone", lambda name: asked.append(name) or load_backbone(name))
    monkeypatch.setattr("vpt_core.prompt_file.load_backbone", lambda name: pytest.fail(f"{name} was asked for"))
    assert section.show(None, PHOTO, [str(file)])["left_out"] and asked == [results.card(RANDOM).name]


def test_no_more_files_than_are_allowed(run_of, tmp_path, monkeypatch):
    run_of("1", "x", 3)
    monkeypatch.setattr(together, "MOST", 2)
    files = [str(file_of(tmp_path, load_backbone(RANDOM), "linear", {}, 2 + k, "Cars")) for k in range(3)]
    value = section.show(None, PHOTO, files)
    assert [row["task"] for row in value["rows"]] == ["Small", "Cars", "Cars (2)"]
    assert value["left_out"] == ["3 prompt files were added; the first 2 are used."]


def test_a_photo_is_kept_for_all_tasks(run_of, tmp_path):
    run_of("1", "x", 3)
    path = tmp_path / "photo.png"
    Image.fromarray(PHOTO).save(path)
    *_, seen = tryit.answer_photo(None, str(path))
    assert seen.shape == (224, 224, 3) and seen.dtype == np.uint8
    assert tryit.answer_photo(None, None) == (None, None, None)
    assert len(section.show(None, seen, None)["rows"]) == 1
