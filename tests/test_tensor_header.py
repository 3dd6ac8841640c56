"""Headers of safetensors files that lie: refused in a sentence, before anything of the claimed size is read."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file
from tiny import RANDOM, SIZE

from vpt_core import prompt_file
from vpt_core.backbones import load_backbone
from vpt_core.errors import UserError
from vpt_core.prompt_file import load_prompt
from vpt_core.tensor_header import MAX_HEADER, read_header

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def header(path: Path, content: Any, room: int = 8, length: int | None = None) -> Path:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + bytes(room))
    return path


def test_a_good_header_is_read_as_the_library_reads_it(tmp_path):
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(0, dtype=torch.int64), "c": torch.tensor(True)}
    save_file(tensors, tmp_path / "x.safetensors", {"k": "v"})
    texts, shapes = read_header(tmp_path / "x.safetensors")
    assert texts == {"k": "v"}
    assert {n: str(shape) for n, shape in shapes.items()} == {n: f"{t.dtype} {tuple(t.shape)}" for n, t in tensors.items()}


CASES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "length beyond the file": ({"a": GOOD}, {"length": 2**60}, "should have 1,152,921"),
    "length of all ones": ({"a": GOOD}, {"length": 2**64 - 1}, "should have"),
    "overlap": ({"a": GOOD, "b": GOOD}, {}, "overlap, or leave gaps"),
    "gap": ({"a": GOOD, "b": GOOD | {"data_offsets": [12, 20]}}, {"room": 20}, "overlap, or leave gaps"),
    "bytes of none": ({"a": GOOD}, {"room": 9}, "take 8 bytes, and the file holds 9"),
    "beyond the end": ({"a": GOOD}, {"room": 7}, "take 8 bytes"),
    "huge shape": ({"a": GOOD | {"shape": [2**40, 2**40]}}, {}, "does not fit its bytes"),
    "shape that wraps": ({"a": GOOD | {"shape": [2**32, 2**32], "data_offsets": [0, 0]}}, {"room": 0}, "does not fit"),
    "negative": ({"a": GOOD | {"shape": [-2], "data_offsets": [8, 0]}}, {}, "cannot be"),
    "fraction": ({"a": GOOD | {"shape": [2.0]}}, {}, "cannot be"),
    "true for one": ({"a": GOOD | {"shape": [True, 2]}}, {}, "cannot be"),
    "many axes": ({"a": GOOD | {"shape": [1] * 1000 + [2]}}, {}, "cannot be"),
    "unknown kind": ({"a": GOOD | {"dtype": "F7"}}, {}, "unknown kind 'F7'"),
    "kind that is a list": ({"a": GOOD | {"dtype": ["F32"]}}, {}, "unknown kind"),
    "a field more": ({"a": GOOD | {"hook": "os.system"}}, {}, "no dtype, shape and data_offsets"),
    "a tensor that is a text": ({"a": "x"}, {}, "no dtype"),
    "texts that are numbers": ({"__metadata__": {"a": 1}, "a": GOOD}, {}, "something else than texts"),
    "a list": ([], {}, "not an object"),
    "same name twice": (b'{"a":1,"a":' + json.dumps(GOOD).encode() + b"}", {}, "twice"),
    "same text twice": (b'{"__metadata__":{"k":"a","k":"b"}}', {"room": 0}, "twice"),
    "deep": (b"[" * 100_000, {}, "recursion"),
    "no text": (b"\xff\xfe\x00", {}, "decode"),
    "long number": (b"9" * 10_000, {}, "digits"),
    "too many": ({f"t{i}": GOOD for i in range(10_001)}, {}, "10,001 tensors"),
}


@pytest.mark.parametrize("case", CASES)
def test_a_header_that_lies_is_refused(case, tmp_path):
    content, rest, words = CASES[case]
    with pytest.raises(UserError, match=words) as error:
        read_header(header(tmp_path / "x.safetensors", content, **rest))
    assert len(str(error.value)) < 400


def test_a_huge_header_is_not_read(tmp_path):
    path = tmp_path / "x.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", MAX_HEADER + 1))
        file.truncate(MAX_HEADER + 100)
    with pytest.raises(UserError, match="16,000,001 bytes; 16,000,000 are allowed"):
        read_header(path)


@given(st.binary(max_size=60), st.integers(0, 120), st.booleans())
def test_any_change_is_read_or_refused_in_words(tmp_path_factory, noise, at, cut):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    good = save({"a": torch.zeros(2)}, {"k": "v"})
    path.write_bytes(good[:at] + noise + (b"" if cut else good[at + len(noise) :]))
    try:
        _, shapes = read_header(path)
    except UserError as error:
        assert "not a valid safetensors file" in str(error) and "\n" not in str(error)[:60]
    else:
        assert all(shape.sizes == tuple(map(int, shape.sizes)) for shape in shapes.values())


def test_shapes_are_judged_before_tensors_are_read(finished_run, tmp_path, monkeypatch):
    said = finished_run.prompt_file.read_bytes()
    texts, _ = read_header(finished_run.prompt_file)
    path = tmp_path / "x.safetensors"
    save_file({"head.bias": torch.zeros(3), "head.weight": torch.zeros(4, 64)}, path, texts)
    monkeypatch.setattr(prompt_file, "safe_open", lambda *_, **__: pytest.fail("tensors were read"))
    with pytest.raises(UserError, match="needs head.bias"):
        load_prompt(path)
    assert finished_run.prompt_file.read_bytes() == said


def test_a_lone_file_cannot_name_weights_by_path(finished_run, copied_run, tmp_path, monkeypatch):
    """A run's folder can: its spec says so too."""
    name = f"test_vit:{tmp_path / 'secret.safetensors'}"
    texts, _ = read_header(copied_run.prompt_file)
    said = json.loads(texts["visual_prompt_tuning"]) | {"backbone": name}
    classifier = finished_run.classifier()
    lone = tmp_path / "lone.safetensors"
    save_file(dict(classifier.model.state_dict()), lone, {"visual_prompt_tuning": json.dumps(said)})
    with pytest.raises(UserError, match="asks for weights in a file of this computer"):
        load_prompt(lone)
    backbone = load_backbone(RANDOM)
    pixels = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    assert (load_prompt(lone, backbone).logits(pixels) == classifier.logits(pixels)).all()
    said["backbone"] = "test_vit:secret.safetensors"  # as a run's own file has it: no folder of this computer
    save_file(dict(classifier.model.state_dict()), copied_run.prompt_file, {"visual_prompt_tuning": json.dumps(said)})
    spec = json.loads((copied_run.folder / "spec.json").read_text()) | {"backbone": name}
    (copied_run.folder / "spec.json").write_text(json.dumps(spec))
    monkeypatch.setattr(prompt_file, "load_backbone", lambda asked: backbone if asked == name else pytest.fail(asked))
    assert (load_prompt(copied_run.prompt_file).logits(pixels) == classifier.logits(pixels)).all()
