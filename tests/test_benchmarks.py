"""The scripts in benchmarks/: they run, and what they count is what torch counts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from vpt_core.backbones import load_backbone

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import side_by_side, steps  # noqa: E402


@pytest.mark.parametrize("how", [{}, {"by_hand": False}], ids=str)
def test_the_formula_counts_what_torch_counts(how):
    backbone, batch, prompts = load_backbone("test_vit:random"), 3, 5
    step = steps.step(steps.deep(backbone, 64, prompts, **how), torch.rand(batch, 3, 64, 64))
    with FlopCounterMode(display=False) as counter:
        step()
    stem = counter.get_flop_counts()["Global"].pop(torch.ops.aten.convolution)
    head = 3 * 2 * batch * backbone.embed_dim * steps.CLASSES  # forward, and the gradients of features and weights
    assert steps.flops(backbone, 17, batch, prompts) == counter.get_total_flops() - stem - head


def test_ratios_are_taken_round_by_round():
    seconds = {"a": [1.0, 4.0, 3.0], "b": [2.0, 4.0, 12.0]}
    found = side_by_side.ratio(seconds, "a", "b")
    assert (found.low, found.median, found.high) == (0.25, 0.5, 1.0)
    assert list(side_by_side.seconds_of({"x": lambda: None, "y": lambda: None}, 2)) == ["x", "y"]


def test_the_quick_benchmark_gives_every_ratio(monkeypatch):
    monkeypatch.setitem(steps.MODELS, "ViT-S/16", "test_vit:random")
    rows = steps.measure("ViT-S/16", batch=2, rounds=1, size=32, prompts=2, bfloat16=True)
    without_peft = [row for row in steps.ROWS if "peft" not in row]
    assert [row for row in rows if "peft" not in row] == without_peft and all(row.median > 0 for row in rows.values())
