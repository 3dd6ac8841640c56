"""What many tasks cost: closed formulas against timm and torch, the paper's totals, the command and the picture."""

from __future__ import annotations

import json
from pathlib import Path

import faked
import numpy as np
import pytest
import timm
from timm.models import SwinTransformer
from tiny import tiny_backbone
from torch import nn

from app.figures import ledger_figure
from app.tabs import ledger as tab
from app.verdict import size
from vpt_core import ledger as books
from vpt_core.__main__ import main
from vpt_core.errors import UserError
from vpt_core.ledger import SHAPES, SWIN_B, TASKS, VIT_B16, Cost, Vit, entry, learned, paper_ledger, stored
from vpt_core.ledger.paper import alexnet_sidetune
from vpt_core.model import Model
from vpt_core.runs import Run, write_json

ROOT = Path(__file__).parents[1]
SMALL = Vit(title="small", width=32, depth=4, patch=16)
REGISTERS = Vit(title="DINOv2", width=384, depth=12, patch=14, image_size=518, registers=4, layer_scale=True)
PLAIN = Vit(title="DINOv2", width=384, depth=12, patch=14, image_size=518, layer_scale=True)
UNBIASED = Vit(title="no bias", width=192, depth=12, patch=16, qkv_bias=False)
IN_TIMM = [
    (VIT_B16, "vit_base_patch16_224", {}), (SHAPES[1], "vit_large_patch16_224", {}), (SHAPES[2], "vit_huge_patch14_224", {}),
    (SWIN_B, "swin_base_patch4_window7_224", {}), (REGISTERS, "vit_small_patch14_reg4_dinov2", {}),
    (PLAIN, "vit_small_patch14_dinov2", {}), (UNBIASED, "vit_tiny_patch16_224", {"qkv_bias": False}),
]  # fmt: skip
PRINTED = {"Full": 24.02, "Linear": 1.02, "Partial-1": 3.00, "MLP-3": 1.35, "Sidetune (AlexNet)": 3.69, "Bias": 1.05,
           "VPT-shallow": 1.04, "VPT-deep": 1.18}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("shape", "name", "changes"), IN_TIMM, ids=[name for _, name, _ in IN_TIMM])
def test_shapes_count_as_timm_does(shape, name, changes):
    model = timm.create_model(name, num_classes=0, device="meta", **changes)
    biases = {id(m.bias): m.bias for m in model.modules() if isinstance(getattr(m, "bias", None), nn.Parameter)}
    assert shape.numbers.total == count(model)
    assert shape.numbers.biases == sum(b.numel() for b in biases.values())
    assert learned("full", {}, shape, 3) == count(model) + 3 * (model.num_features + 1)


@pytest.mark.parametrize(("shape", "name"), [(VIT_B16, "vit_base_patch16_224"), (SWIN_B, "swin_base_patch4_window7_224")])
@pytest.mark.parametrize("last", [1, 2, 3, 12])
def test_the_last_blocks_are_timms(shape, name, last):
    model = timm.create_model(name, num_classes=0, device="meta")
    if isinstance(model, SwinTransformer):
        parts = [part for stage in model.layers for part in (stage.downsample, *stage.blocks)]
    else:
        parts = list(model.blocks)
    blocks = [i for i, part in enumerate(parts) if hasattr(part, "mlp")]
    wanted = sum(count(part) for part in parts[blocks[-last]:]) + count(model.norm)
    assert learned("partial", {"blocks": last}, shape, 10) == wanted + 10 * (shape.features + 1)


@pytest.mark.parametrize("blocks", [0, 13, -1])
def test_blocks_that_are_not_there_are_refused(blocks):
    with pytest.raises(UserError, match="from 1 to 12"):
        learned("partial", {"blocks": blocks}, VIT_B16, 10)


def test_numbers_known_for_vit_b16():
    assert VIT_B16.numbers.total == 85_798_656 and VIT_B16.numbers.biases == 102_912
    head = 100 * 769
    assert learned("linear", {}, VIT_B16, 100) == head
    assert learned("bias", {}, VIT_B16, 100) == 102_912 + head
    assert learned("vpt-shallow", {"prompts": 50, "dropout": 0.1}, VIT_B16, 100) == 38_400 + head
    assert learned("vpt-deep", {"prompts": 50, "init": "prototypes"}, VIT_B16, 100) == 460_800 + head
    assert learned("vpt-frame", {"width": 30}, VIT_B16, 100) == 3 * 4 * (30 * 224 + 30 * 30) + head


@pytest.mark.parametrize("shape", SHAPES, ids=[s.title for s in SHAPES])
def test_modules_count_as_torch_does(shape):
    d, head = shape.features, 7 * (shape.features + 1)
    layers = [nn.Sequential(nn.Linear(d, d, device="meta"), nn.BatchNorm1d(d, device="meta")) for _ in range(3)]
    mlp = {"hidden_layers": 3, "dropout": 0.1}
    assert learned("mlp", mlp, shape, 7) == sum(map(count, layers)) + head
    kept = sum(t.numel() for layer in layers for t in layer.state_dict().values())
    assert stored("mlp", mlp, shape, 7) == kept + head > learned("mlp", mlp, shape, 7)
    channels = [3, 32, 64, 128, 256]
    side = [nn.Sequential(nn.Conv2d(a, b, 3, 2, bias=False, device="meta"), nn.GroupNorm(8, b, device="meta"))
            for a, b in zip(channels[:-1], channels[1:], strict=True)]  # fmt: skip
    both = sum(map(count, side)) + count(nn.Linear(256, d, device="meta"))
    assert learned("sidetune", {}, shape, 7) == stored("sidetune", {}, shape, 7) == both + 1 + head


def test_what_stands_in_each_block_follows_its_width():
    widths = [128] * 2 + [256] * 2 + [512] * 18 + [1024] * 2
    head = 1025 * 5
    assert [b.width for b in SWIN_B.blocks] == widths
    pairs = sum(2 * w * (w // 16) + w // 16 + w for w in widths)
    assert learned("adapter", {"reduction": 16}, SWIN_B, 5) == pairs + head
    assert learned("adapter", {"reduction": 1000}, VIT_B16, 5) == 12 * (2 * 768 + 1 + 768) + 769 * 5  # one at least
    assert learned("lora", {"rank": 4, "alpha": 4.0}, SWIN_B, 5) == 4 * sum(w + 3 * w for w in widths) + head
    assert learned("lora", {"where": "qkv+proj"}, SWIN_B, 5) == 8 * sum(6 * w for w in widths) + head
    assert learned("vpt-deep", {"prompts": 2}, SWIN_B, 5) == 2 * sum(widths) + head
    assert learned("vpt-deep", {"prompts": 2, "shared": True}, SWIN_B, 5) == 2 * (128 + 256 + 512 + 1024) + head
    assert learned("vpt-shallow", {"prompts": 2}, SWIN_B, 5) == 2 * 128 + head


def test_places_of_prompts():
    head = 5 * 769
    assert learned("vpt-shallow", {"place": "pixel"}, VIT_B16, 5) == 10 * 3 * 256 + head
    assert learned("vpt-shallow", {"place": "add"}, VIT_B16, 5) == 196 * 768 + head
    assert learned("vpt-shallow", {"place": "add"}, VIT_B16, 5, image_size=112) == 49 * 768 + head
    assert learned("vpt-deep", {"place": "add", "shared": True}, VIT_B16, 5) == 196 * 768 + head
    added = 2 * 56**2 * 128 + 2 * 28**2 * 256 + 18 * 14**2 * 512 + 2 * 7**2 * 1024
    assert learned("vpt-deep", {"place": "add"}, SWIN_B, 5) == added + 5 * 1025
    with pytest.raises(UserError, match="pixel"):
        learned("vpt-deep", {"place": "pixel"}, VIT_B16, 5)


@pytest.mark.parametrize(("layers", "some"), [("all", 12), ("9-12", 4), ("1, 6,12", 3), ("1-3,2-4", 4), ("first 3", 3),
                                             ("last 4", 4)])
def test_prompted_layers(layers, some):
    options = {"prompts": 3, "layers": layers}
    assert learned("vpt-deep", options, VIT_B16, 5) == some * 3 * 768 + 5 * 769
    assert learned("vpt-deep", options | {"shared": True}, VIT_B16, 5) == 3 * 768 + 5 * 769


@pytest.mark.parametrize("layers", ["13", "0-3", "5-4", "first", "", "1,,2"])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(UserError, match="Prompted layers"):
        learned("vpt-deep", {"layers": layers}, VIT_B16, 5)


def test_a_wrong_name_is_not_counted():
    with pytest.raises(UserError, match="vpt-shallow"):
        learned("vpt-shalow", {}, VIT_B16, 5)
    with pytest.raises(UserError, match="qkv"):
        learned("lora", {"where": "mlp"}, VIT_B16, 5)
    with pytest.raises(TypeError, match="promts"):
        learned("vpt-deep", {"promts": 5}, VIT_B16, 5)


@pytest.mark.parametrize(
    ("method", "options"), [("linear", {}), ("vpt-shallow", {"prompts": 3}), ("vpt-deep", {"prompts": 2, "layers": "2-4"})]
)
def test_formulas_are_what_is_trained(method, options):
    model = Model(tiny_backbone(), method, options, 3, seed=0)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert learned(method, options, SMALL, 3) == trained
    assert stored(method, options, SMALL, 3) == sum(t.numel() for t in model.state_dict().values())


def test_the_papers_tasks():
    assert len(TASKS) == len({task.name for task in TASKS}) == 24 and all(task.source for task in TASKS)
    groups = {group: [t for t in TASKS if t.group == group] for group in ("FGVC", "Natural", "Specialized", "Structured")}
    assert [len(tasks) for tasks in groups.values()] == [5, 7, 4, 8]
    assert [sum(t.classes for t in tasks) for tasks in groups.values()] == [1173, 795, 62, 83]
    assert [sum(t.deep for t in tasks) for tasks in groups.values()] == [365, 87, 211, 860]
    assert [sum(t.shallow or 0 for t in tasks) for tasks in groups.values()] == [0, 557, 115, 1100]


def test_the_ledger_is_the_papers():
    lines = {line.name: line for line in paper_ledger()}
    assert {name: round(lines[name].multiple, 2) for name in PRINTED} == PRINTED
    assert {row.title: row.printed for row in books.ROWS if row.printed} == PRINTED
    assert all(line.tasks == 24 for line in lines.values())
    assert lines["Linear"].learned == 2113 * 769 and lines["Linear"].bytes == 4 * 2113 * 769
    assert lines["Full"].kept == lines["Full"].bytes == 4 * (24 * 85_798_656 + 2113 * 769)
    assert lines["MLP-3"].bytes > 4 * lines["MLP-3"].learned  # the running statistics are kept too


def test_the_papers_side_network_is_alexnet():
    layers = [(3, 64, 11), (64, 192, 5), (192, 384, 3), (384, 256, 3), (256, 256, 3)]
    side = sum(count(nn.Conv2d(a, b, kernel, device="meta")) for a, b, kernel in layers)
    assert alexnet_sidetune(VIT_B16, 10) == side + 7_078_656 + 1 + 7690
    assert learned("sidetune", {}, VIT_B16, 10) < alexnet_sidetune(VIT_B16, 10) / 10


def test_unknown_lengths_of_shallow_prompts_can_hardly_change_its_total():
    known = (85_798_656 + 2113 * 769 + (557 + 115 + 1100) * 768) / 85_798_656
    fits = [p for p in range(3000) if round(known + p * 768 / 85_798_656, 2) == 1.04]
    assert (fits[0], fits[-1]) == (23, 1139)
    assert sum(t.shallow_or_deep for t in TASKS if t.shallow is None) in fits


def test_the_totals_of_swin():
    vtab = [t.classes for t in TASKS if t.group != "FGVC"]
    totals = []
    for method in ("full", "linear"):
        costs = [Cost(0, 4 * learned(method, {}, SWIN_B, c), whole=method == "full") for c in vtab]
        totals.append(round(entry(method, costs, 4 * SWIN_B.numbers.total).multiple, 2))
    assert totals == [19.01, 1.01]


def test_the_backbone_is_kept_once_where_any_task_needs_it():
    small, whole = Cost(10, 50), Cost(100, 450, whole=True)
    assert entry("a", [small, small], 400).kept == 500 and entry("a", [small, small], 400).multiple == 1.25
    assert entry("b", [whole], 400).kept == 450
    assert entry("c", [small, whole], 400).kept == 900
    assert [line.name for line in books.ledger({"one": small}, 400)] == ["one"]
    lines = books.ledger({"one": small, "two": whole}, 400)
    assert [line.name for line in lines] == ["one", "two", "all 2 together"] and lines[-1].learned == 110


def test_the_readme_shows_what_the_command_prints(capsys):
    assert main(["ledger"]) == 0
    said = capsys.readouterr().out
    assert "24.02" in said and said in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_command_counts_runs(finished_run, tmp_path, capsys):
    assert main(["ledger", str(finished_run.folder), "--json"]) == 0
    (name, (line,)), = json.loads(capsys.readouterr().out).items()
    status = finished_run.status
    assert name == finished_run.spec.backbone and line["learned"] == status["trained"]
    assert line["bytes"] == finished_run.prompt_file.stat().st_size
    assert line["kept"] == line["bytes"] + 4 * status["backbone_parameters"]
    others = [run.folder for run in faked.result(tmp_path, {"linear": np.ones(6, bool), "vpt-deep": np.ones(6, bool)}).runs]
    assert main(["ledger", *map(str, others), str(finished_run.folder)]) == 0
    said = capsys.readouterr().out
    assert said.count("learned numbers") == 2 and "all 2 together" in said and "11,000" in said  # a table a backbone


def test_the_command_refuses_what_has_nothing_to_count(copied_run, tmp_path, capsys):
    assert main(["ledger", str(tmp_path)]) == 2
    assert "not the folder of a run" in capsys.readouterr().err
    write_json(copied_run.folder / "status.json", copied_run.status | {"state": "failed"})
    assert main(["ledger", str(copied_run.folder)]) == 2
    assert "failed and has nothing to count" in capsys.readouterr().err


def test_a_run_of_full_fine_tuning_needs_no_frozen_backbone(finished_run, monkeypatch):
    assert finished_run.cost == Cost(finished_run.status["trained"], finished_run.status["file_bytes"])
    monkeypatch.setattr(Run, "spec", type("Asked", (), {"method": "full"}))
    assert Run(finished_run.folder).cost.whole


def test_the_picture_has_a_row_a_method_and_the_dearest_on_top():
    value = ledger_figure({"cheap": Cost(1, 10), "<b>dear": Cost(9, 900_000, whole=True)}, 1_000_000)
    backbone, _, *dots = value["data"]
    assert value["layout"]["yaxis"]["ticktext"] == ["cheap", "&lt;b&gt;dear"]
    assert backbone["x"] == [1_000_000] * 2 and backbone["name"] == "one backbone: 1.0 MB"
    assert [d["name"] for d in dots] == ["1 task", "24 tasks", "1000 tasks"]
    assert dots[1]["x"] == [1_000_240, 24 * 900_000] and dots[2]["text"] == [" 1.0 MB", " 900.0 MB"]
    low, high = value["layout"]["xaxis"]["range"]
    assert low < 6 < np.log10(900_000_000) < high


def test_the_section_counts_each_backbone():
    for shape in SHAPES:
        said, value = tab.show(None, shape.title)
        assert said.startswith("For 1000 tasks Full fine-tuning keeps") and "Linear probe keeps" in said
        assert f"{tab.CLASSES} classes" in said and value["layout"]["yaxis"]["ticktext"][-1] == "Full fine-tuning"
    assert "343.5 GB (1,000.9 times" in tab.show(None, "ViT-B/16")[0]


def test_the_section_counts_the_files_of_a_result(tmp_path, monkeypatch):
    made = faked.result(tmp_path, {"linear": np.ones(6, bool), "vpt-deep": np.ones(6, bool)})
    monkeypatch.setattr(tab, "find", lambda key: made)
    said, value = tab.show("key", tab.OWN)
    assert "VPT-deep keeps 44.0 MB (11.0 times one backbone)" in said and "3 classes" in said
    assert value["layout"]["yaxis"]["ticktext"] == ["Linear probe", "VPT-deep"]
    monkeypatch.setattr(tab, "find", lambda key: None)
    assert tab.show("key", tab.OWN) == ["", None]


def test_sizes_up_to_the_largest():
    assert [size(n) for n in (999_499_999, 10**9, 10**12)] == ["999.5 MB", "1.0 GB", "1.0 TB"]
