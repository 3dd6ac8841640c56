"""A saved run comes back, and a zip that only says to be one is refused in a sentence that leaves nothing behind."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import RANDOM

from vpt_core.__main__ import main
from vpt_core.backbones import BACKBONES, card
from vpt_core.errors import UserError
from vpt_core.report import write_report
from vpt_core.run_zip import pack_run, unpack_run
from vpt_core.runs import Run
from vpt_core.tasks import ELSEWHERE, load_task

Files = dict[str, bytes]
KEPT = {"spec.json", "status.json", "history.jsonl", "test.json", "tuned.safetensors", "logits.npy", "features.npy",
        "frozen.npy", "epochs"}  # fmt: skip
HTML = "<img src=x onerror=alert(1)>"


@pytest.fixture(autouse=True)
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, RANDOM, card(RANDOM))


@pytest.fixture(scope="module")
def good(finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a run as Save packs them, but for the card."""
    pack_run(finished_run, path := tmp_path_factory.mktemp("packed") / "run.zip")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("README.md")}


def packed(files: Files, tmp_path: Path) -> Path:
    path = tmp_path / "run.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def at(files: Files, name: str) -> str:
    return next(path for path in files if path.endswith(f"/{name}"))


def with_json(name: str, **changes: object) -> Callable[[Files], Files]:
    """A change of some fields of a record."""
    return lambda files: files | {at(files, name): json.dumps(json.loads(files[at(files, name)]) | changes).encode()}


def with_bytes(name: str, data: bytes) -> Callable[[Files], Files]:
    return lambda files: files | {at(files, name): data}


def npy(array: np.ndarray) -> bytes:
    np.save(out := io.BytesIO(), array)
    return out.getvalue()


def claimed(shape: tuple[int, ...]) -> bytes:
    """An array whose header says `shape`, and nothing behind it."""
    np.lib.format.write_array_header_1_0(out := io.BytesIO(), {"descr": "<f4", "fortran_order": False, "shape": shape})
    return out.getvalue()


def test_a_saved_run_is_the_same_again(good, finished_run, tmp_path):
    run = unpack_run(packed(good, tmp_path), tmp_path / "runs")
    assert run.finished and run.test == finished_run.test and run.history == finished_run.history
    assert run.prompt_file.read_bytes() == finished_run.prompt_file.read_bytes() and [*run.epochs] == [*finished_run.epochs]
    for name in ("logits", "features", "frozen"):
        assert (run.array(name) == finished_run.array(name)).all()
    assert run.labels.tolist() == finished_run.labels.tolist() and run.image_names == finished_run.image_names
    assert "Loaded from a zip" in write_report(run, tmp_path / "report.html").read_text()
    assert run.status["loaded"] and run.classes == finished_run.classes and run.name != finished_run.name


def test_it_keeps_no_way_to_the_images_of_whoever_made_it(good, finished_run, tmp_path):
    assert finished_run.spec.task.encode() not in b"".join(good.values())
    good = with_json("spec.json", task=finished_run.spec.task)(good)
    run = unpack_run(packed(good, tmp_path), tmp_path / "runs")
    assert Path(finished_run.spec.task).is_dir() and run.spec.task == f"{ELSEWHERE}{Path(finished_run.spec.task).name}"
    with pytest.raises(UserError, match="are not here"):
        load_task(run.spec.task)


def test_strangers_words_are_cleaned_and_numbers_are_counted_again(good, tmp_path):
    changed = with_json("status.json", test={"correct": 999, "total": 1}, trained=-1, file_bytes="x", classes=[HTML], more=HTML,
                        task_title=f"\x1b[31m{HTML}\u202e")(good)  # fmt: skip
    top = next(iter(good)).split("/")[0]
    more = {"../../x.txt": b"x", f"{top}/run.py": b"x", f"{top}/umap.npy": b"x"}
    run = unpack_run(packed(changed | more, tmp_path), tmp_path / "runs")
    assert run.test.total == len(run.labels) >= run.test.correct and run.classes == ["a", "b", "c"]
    assert run.status["task_title"] == f"[31m{HTML}" and "more" not in run.status and run.status["trained"] > 0
    assert {path.relative_to(run.folder).parts[0] for path in tmp_path.rglob("runs/*/*")} == KEPT


class Payload:
    def __reduce__(self):
        return print, ("this was executed",)


PICKLE = npy(np.array([1.0])).replace(b"<f8", b"|O ") + pickle.dumps([Payload()])
REFUSED: dict[str, tuple[Callable[[Files], Files], str]] = {
    "no record": (lambda files: {"a/b.txt": b"x"}, "no spec.json"),
    "a file is missing": (lambda files: {n: d for n, d in files.items() if "logits" not in n}, "logits.npy is missing"),
    "other weights": (with_json("spec.json", backbone="vit_tiny_patch16_224:/etc/x.safetensors"), "asks for the backbone"),
    "a backbone to fetch": (with_json("spec.json", backbone="vit_giant_patch14_dinov2"), "asks for the backbone"),
    "a spec that is none": (with_json("spec.json", run="rm -rf"), "not the spec of a run"),
    "another seed": (with_json("spec.json", seed=77), "was not made as spec.json says"),
    "other options": (with_json("spec.json", options={"prompts": 3}), "was not made as spec.json says"),
    "it goes on": (with_json("status.json", state="running"), "not that of a finished run"),
    "seconds without end": (with_json("status.json", seconds={"embed": float("inf")}), "not that of a finished run"),
    "no JSON": (with_bytes("status.json", b"[" * 100_000), "is not JSON"),
    "a list": (with_bytes("status.json", b"[]"), "is not what a run writes"),
    "a long number": (with_bytes("history.jsonl", b"9" * 10_000), "history.jsonl is not"),
    "HTML in the history": (with_bytes("history.jsonl", json.dumps({"epoch": HTML}).encode()), "is not what a run writes"),
    "classes of no one": (with_json("test.json", labels=[9] * 6), "a class and a name"),
    "a pickle": (with_bytes("logits.npy", PICKLE), "not an array"),
    "a pickle as prompts": (with_bytes("tuned.safetensors", pickle.dumps(Payload())), "not a valid safetensors"),
    "a shape of terabytes": (with_bytes("features.npy", claimed((6, 2**40))), "not an array"),
    "a negative shape": (with_bytes("features.npy", claimed((6, -1))), "not an array"),
    "NaN": (with_bytes("frozen.npy", npy(np.full((6, 64), np.nan, np.float32))), "not finite"),
    "float64": (with_bytes("frozen.npy", npy(np.zeros((6, 64)))), "not an array"),
    "logits of other classes": (with_bytes("logits.npy", npy(np.zeros((6, 2), np.float32))), "not of 3 classes"),
    "epochs of another": (with_bytes("001.safetensors", b"\0" * 8), "not a valid safetensors"),
    "a long record": (with_bytes("test.json", b" " * 9_000_000), "more than 8 MB"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_run_is_refused_in_words(case, good, tmp_path, capsys):
    change, words = REFUSED[case]
    with pytest.raises(UserError, match=words) as error:
        unpack_run(packed(change(good), tmp_path), tmp_path / "runs")
    assert len(str(error.value)) < 600 and not list((tmp_path / "runs").glob("*"))
    assert "executed" not in capsys.readouterr().out


@given(data=st.data(), share=st.floats(0, 1), noise=st.binary(min_size=1, max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_any_change_of_a_file_is_a_run_or_a_sentence(data, share, noise, good, tmp_path):
    name = data.draw(st.sampled_from(sorted(good)))
    place = int(share * len(good[name]))
    changed = good[name][:place] + noise + good[name][place + len(noise) :]
    before = set(tmp_path.glob("runs/*"))
    try:
        run = unpack_run(packed(good | {name: changed}, tmp_path), tmp_path / "runs")
    except UserError as error:
        assert str(error) and set(tmp_path.glob("runs/*")) == before
    else:
        assert run.finished and run.history is not None and run.test.total == len(run.labels)


def test_the_command_prints_the_folder(good, tmp_path, capsys):
    assert main(["unpack", str(packed(good, tmp_path)), "--runs", str(tmp_path / "runs")]) == 0
    assert Run(Path(capsys.readouterr().out.strip())).finished
    assert main(["unpack", str(tmp_path / "none.zip")]) == 2 and "There is no file" in capsys.readouterr().err
