"""The scripts in benchmarks/: they run, and what they count is what torch counts."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vpt_core import shares
from vpt_core.backbones import load_backbone
from vpt_core.methods import METHODS
from vpt_core.methods.attending import PRODUCTS
from vpt_core.methods.how import How

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import grid, growth, memory, page, parts, precision, side_by_side, steps, variants  # noqa: E402

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def test_the_formula_counts_what_torch_counts():
    backbone, batch, prompts = load_backbone("test_vit:random"), 3, 5
    how = How(attention=PRODUCTS)  # as products, since not every torch counts its flash kernels for the processor
    step = variants.step(variants.deep(backbone, 64, prompts, how=how), torch.rand(batch, 3, 64, 64))
    with FlopCounterMode(display=False) as counter:
        step()
    stem = counter.get_flop_counts()["Global"].pop(torch.ops.aten.convolution)
    head = 3 * 2 * batch * backbone.embed_dim * variants.CLASSES  # forward, and the gradients of features and weights
    assert steps.flops(backbone, 17, batch, prompts) == counter.get_total_flops() - stem - head


def test_ratios_are_taken_round_by_round():
    seconds = {"a": [1.0, 4.0, 3.0], "b": [2.0, 4.0, 12.0]}
    found = side_by_side.ratio(seconds, "a", "b")
    assert (found.low, found.median, found.high) == (0.25, 0.5, 1.0)
    assert list(side_by_side.seconds_of({"x": lambda: None, "y": lambda: None}, 2)) == ["x", "y"]


def test_the_quick_benchmark_gives_every_ratio(monkeypatch):
    monkeypatch.setitem(variants.MODELS, "ViT-S/16", "test_vit:random")
    rows = steps.measure("ViT-S/16", batch=2, rounds=1, size=32, prompts=2, bfloat16=True)
    without_peft = [row for row in (*steps.ROWS, *steps.HELD) if "peft" not in row]
    assert [row for row in rows if "peft" not in row] == without_peft and all(row.median > 0 for row in rows.values())


def test_the_grid_has_every_method_against_the_concatenated_step(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(grid, "MODELS", {"tiny": "test_vit:random"})
    monkeypatch.setattr(grid, "SIZES", (32,))
    monkeypatch.setattr(grid, "PROMPTS", (1, 10))
    monkeypatch.setattr(grid, "FILE", tmp_path / "grid.csv")
    monkeypatch.setattr("sys.argv", ["grid.py", "--rounds", "1"])
    grid.main()
    rows = list(csv.DictReader(grid.FILE.open()))
    assert {row["method"] for row in rows} == set(METHODS)
    assert [row["prompts"] for row in rows if row["method"] == "vpt-deep"] == ["1", "10"]
    assert all(float(row["median"]) > 0 for row in rows)
    assert "| VPT-deep, 1 prompt |" in capsys.readouterr().out


def test_parts_are_measured_against_whole_batches(monkeypatch, tmp_path):
    monkeypatch.setattr(parts, "BACKBONE", "test_vit:random")
    monkeypatch.setattr(parts, "FILE", tmp_path / "parts.csv")
    ways, seen = shares._setters, []
    monkeypatch.setattr(parts, "inference", lambda model, x: lambda: seen.append(shares._setters is ways))
    parts.write({(32, 2): parts.measure(32, 2, rounds=2)})
    assert seen == [True, False] * 3 and shares._setters is ways
    rows = list(csv.DictReader(parts.FILE.open()))
    assert len(rows) == 2 and all(float(row["median"]) > 0 for row in rows)
    assert "| a pass of 16 images, 32 px, 2 prompts |" in parts.table(rows)


def test_growth_is_told_from_one_middle_case(monkeypatch, tmp_path):
    monkeypatch.setattr(growth, "MODELS", {growth.NAME: "test_vit:random"})
    monkeypatch.setattr(growth, "SIZE", 32)
    monkeypatch.setattr(growth, "CASES", ((32, 50, "all"), (16, 100, "all"), (16, 50, "last 1")))
    monkeypatch.setattr(growth, "FILE", tmp_path / "growth.csv")
    monkeypatch.setattr("sys.argv", ["growth.py", "--rounds", "1"])
    growth.main()
    base, images, prompts, layers = csv.DictReader(growth.FILE.open())
    assert float(base["median"]) == 1
    assert float(layers["held_mb"]) < float(base["held_mb"]) < min(float(images["held_mb"]), float(prompts["held_mb"]))


@pytest.mark.parametrize("script", [steps, grid, memory, precision, page, parts])
def test_the_readme_has_the_tables_that_were_measured(script):
    with script.FILE.open() as file:
        assert script.table(list(csv.DictReader(file))) in README
