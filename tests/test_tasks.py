"""Tasks: splits, resizing, saving and loading, the built-in ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vpt_core.errors import UserError
from vpt_core.tasks import TASKS, Report, Task, load_task, resize
from vpt_core.tasks.report import counts
from vpt_core.tasks.sprites import SHAPES, draw_all, of_count, of_position


def make(sizes: list[int], splits: list[str] | None = None, side: int = 8) -> Task:
    """A task of random images, all different: `sizes` images a class, each in the given split that `splits` names."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(len(sizes)), sizes).astype(np.int64)
    pixels = rng.integers(0, 256, (len(labels), side, side, 3), dtype=np.uint8)
    split = np.array(splits or [""] * len(labels), dtype="<U5")
    classes = tuple(f"class {i}" for i in range(len(sizes)))
    names = tuple(f"{i}.png" for i in range(len(labels)))
    report = Report("x", counts(classes, labels, split))
    return Task("mine", "Mine", "own", "made up", classes, pixels, labels, split, names, report)


def of_class(task: Task, indices: np.ndarray) -> list[int]:
    return np.bincount(task.labels[indices], minlength=len(task.classes)).tolist()


@pytest.mark.parametrize(
    ("size", "train", "val", "test"), [(1, 1, 0, 0), (2, 1, 0, 1), (3, 1, 1, 1), (5, 3, 1, 1), (10, 6, 2, 2), (100, 60, 20, 20)]
)
def test_nothing_given_splits_60_20_20(size: int, train: int, val: int, test: int) -> None:
    task = make([size, size])
    splits = task.splits(seed=3, shots=0)
    assert [of_class(task, part) for part in (splits.train, splits.val, splits.test)] == [[train] * 2, [val] * 2, [test] * 2]
    assert splits.train.dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=2, max_size=4), seed=st.integers(0, 2**31 - 1), data=st.data())
def test_any_split_is_a_partition_with_training_images(sizes: list[int], seed: int, data: st.DataObject) -> None:
    splits = data.draw(st.lists(st.sampled_from(["", "train", "val", "test"]), min_size=sum(sizes), max_size=sum(sizes)))
    task = make(sizes, splits)
    drawn = task.splits(seed, shots=0)
    everything = np.concatenate([drawn.train, drawn.val, drawn.test])
    assert sorted(everything) == list(range(sum(sizes)))
    for name in ("val", "test"):
        assert set(np.flatnonzero(task.given == name)) <= set(getattr(drawn, name))
    can_train = {int(label) for label, split in zip(task.labels, splits, strict=True) if split in ("", "train")}
    assert can_train == set(task.labels[drawn.train].tolist())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), few=st.integers(1, 20), more=st.integers(0, 20))
def test_fewer_shots_are_part_of_more_and_share_the_test_images(seed: int, few: int, more: int) -> None:
    task = make([40, 25])
    small, large, full = task.splits(seed, few), task.splits(seed, few + more), task.splits(seed, 0)
    assert set(small.train) <= set(large.train) <= set(full.train)
    assert set(small.val) <= set(large.val) <= set(full.val)
    assert (small.test == large.test).all() and (large.test == full.test).all()
    assert of_class(task, small.train) == [min(few, 24), min(few, 15)]
    assert max(of_class(task, small.val)) <= -(-few // 4)


def test_seeds_draw_differently_and_repeat_exactly() -> None:
    task = make([30, 30])
    assert task.splits(0, 4).train.tolist() == make([30, 30]).splits(0, 4).train.tolist()
    assert task.splits(0, 4).train.tolist() != task.splits(1, 4).train.tolist()
    assert task.splits(0, 0).test.tolist() != task.splits(1, 0).test.tolist()


def test_a_given_test_split_is_kept_and_validation_is_drawn_from_the_rest() -> None:
    task = make([25, 25], (["test"] * 5 + [""] * 20) * 2)
    for seed in range(5):
        splits = task.splits(seed, 0)
        assert splits.test.tolist() == [0, 1, 2, 3, 4, 25, 26, 27, 28, 29]
        assert of_class(task, splits.val) == [4, 4]


def test_copies_stay_on_one_side_and_contradictions_train() -> None:
    task = make([10, 10])
    task.pixels[1:5] = task.pixels[0]  # five copies in class 0
    task.pixels[15] = task.pixels[9]  # one image in both classes
    for seed in range(20):
        splits = task.splits(seed, 0)
        assert sum(bool({0, 1, 2, 3, 4} & set(part)) for part in (splits.train, splits.val, splits.test)) == 1
        assert {9, 15} <= set(splits.train)


def test_resize_keeps_its_input_at_the_same_size_and_antialiases() -> None:
    stripes = np.zeros((1, 32, 32, 3), dtype=np.uint8)
    stripes[:, :, ::2] = 254
    assert resize(stripes, 32) is stripes
    small = resize(stripes, 8)
    assert small.shape == (1, 8, 8, 3) and small.dtype == np.uint8
    assert np.abs(small.astype(int) - 127).max() < 30  # without antialiasing: 0 or 254


def test_a_saved_task_loads_the_same(tmp_path: Path) -> None:
    task = make([3, 4], ["", "train", "test"] + ["val"] * 4)
    task.report.skipped.append(("猫.heic", "HEIC"))
    task.save(tmp_path / "deep" / "task")
    loaded = Task.load(tmp_path / "deep" / "task")
    assert loaded.fingerprint == task.fingerprint and loaded.report == task.report and loaded.names == task.names
    assert (loaded.pixels == task.pixels).all() and loaded.given.dtype == "<U5"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["task"]
    assert load_task(str(tmp_path / "deep" / "task")).name == str(tmp_path / "deep" / "task")
    with pytest.raises(UserError, match="exists already"):
        task.save(tmp_path / "deep" / "task")


def test_a_failed_save_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="No space left"):
        make([2, 2]).save(tmp_path / "task")
    assert not list(tmp_path.iterdir())


def broken(field: str, value: object) -> pytest.param:
    return pytest.param(lambda record: {**record, field: value}, id=f"{field}={str(value)[:20]}")


@pytest.mark.parametrize(
    "change",
    [
        broken("format", 2),
        broken("labels", [0, 0, 9, 1]),
        broken("labels", [0, 0, 1.0, 1]),
        broken("labels", [0, 0, True, 1]),
        broken("labels", [0]),
        broken("classes", ["a", "a"]),
        broken("classes", ["a"]),
        broken("classes", "ab"),
        broken("given", ["", "", "", "hold"]),
        broken("given", ["", "", "", []]),
        broken("names", ["a", "b", "c", 4]),
        broken("group", "other"),
        broken("name", 3),
        broken("report", {}),
        broken("extra", 1),
        broken("report", {"source": "x", "classes": {"a": {"": -1}}, "skipped": [], "warnings": [], "notes": []}),
        pytest.param(lambda record: {name: value for name, value in record.items() if name != "title"}, id="no title"),
        pytest.param(lambda record: [record], id="a list"),
    ],
)
def test_a_changed_record_is_refused(tmp_path: Path, change) -> None:
    make([2, 2]).save(tmp_path / "task")
    file = tmp_path / "task" / "task.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(UserError):
        Task.load(tmp_path / "task")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_record_that_is_no_json_is_refused(tmp_path: Path, content: bytes) -> None:
    make([2, 2]).save(tmp_path / "task")
    (tmp_path / "task" / "task.json").write_bytes(content)
    with pytest.raises(UserError):
        Task.load(tmp_path / "task")


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 8, 8), np.uint8),
        np.zeros((4, 8, 9, 3), np.uint8),
        np.zeros((4, 8, 8, 3), np.float32),
        np.zeros((3, 8, 8, 3), np.uint8),
        np.zeros((4, 225, 225, 3), np.uint8),
        np.array([{"an": "object"}]),
    ],
)
def test_pixels_of_another_shape_type_or_number_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    make([2, 2]).save(tmp_path / "task")
    np.save(tmp_path / "task" / "pixels.npy", array, allow_pickle=True)
    with pytest.raises(UserError):
        Task.load(tmp_path / "task")


class Trap:
    """What unpickling would run."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.file,)


def test_a_pickle_in_the_pixels_is_not_run(tmp_path: Path) -> None:
    make([2, 2]).save(tmp_path / "task")
    np.save(tmp_path / "task" / "pixels.npy", np.array([Trap(tmp_path / "ran")]), allow_pickle=True)
    with pytest.raises(UserError, match="pixels.npy"):
        Task.load(tmp_path / "task")
    assert not (tmp_path / "ran").exists()


def test_truncated_and_missing_pixels_are_refused(tmp_path: Path) -> None:
    make([2, 2]).save(tmp_path / "task")
    file = tmp_path / "task" / "pixels.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="pixels.npy"):
        Task.load(tmp_path / "task")
    file.unlink()
    with pytest.raises(UserError, match="pixels.npy"):
        Task.load(tmp_path / "task")


def test_the_fingerprint_follows_what_is_learned_from_and_nothing_else() -> None:
    task, same = make([3, 3]), make([3, 3])
    assert task.fingerprint == same.fingerprint
    others = [make([3, 3], ["test"] + [""] * 5), make([2, 4]), make([3, 3], side=9)]
    assert len({task.fingerprint, *(other.fingerprint for other in others)}) == 4


@pytest.mark.parametrize("name", TASKS)
def test_built_in_tasks_are_whole(name: str) -> None:
    task = load_task(name)
    count = len(task.labels)
    assert task.name == name and task.group == TASKS[name].group and task is load_task(name)
    assert task.pixels.shape == (count, task.pixels.shape[1], task.pixels.shape[1], 3) and task.pixels.dtype == np.uint8
    assert task.labels.dtype == np.int64 and task.given.dtype == "<U5" and len(task.names) == count
    assert set(task.given) == {"", "test"} and not task.pixels.flags.writeable
    assert len(set(task.digests)) == count  # no picture twice, so none is learned and tested
    assert task.report.images == count and list(task.report.classes) == list(task.classes)
    sizes = of_class(task, task.splits(0, 0).test)
    assert min(sizes) >= 4
    assert task.splits(0, 4).test.tolist() == task.splits(1, 16).test.tolist()


def test_drawings_are_the_same_each_time_and_show_what_their_label_says() -> None:
    again = draw_all(4, 2, of_count)
    assert (again == load_task("sprites-count").pixels[: len(again)]).all()
    rng = np.random.default_rng(0)
    for label in range(6):
        assert len(of_count(rng, label)) == label + 1
    for label in range(9):
        (sprite,) = of_position(rng, label)
        assert int(sprite.y * 3) * 3 + int(sprite.x * 3) == label
    assert all(max(x * x + y * y for x, y in outline) < 1.02 for outline in SHAPES.values())


def test_stamps_are_files_that_a_person_can_look_at() -> None:
    stamps = Path(__file__).parents[1] / "assets" / "tasks" / "stamps"
    assert "GPL" in TASKS["stamps"].about and (stamps / "LICENCE.md").is_file()
    with Image.open(next(stamps.glob("*/*.jpg"))) as image:
        assert image.size == (160, 160)


def test_an_unknown_task_names_what_is_accepted() -> None:
    with pytest.raises(UserError, match="stamps.*folder or zip"):
        load_task("no/such/place")


def test_importing_tasks_stays_light() -> None:
    code = "import sys, vpt_core.tasks; print(*sorted({'torch', 'gradio', 'sklearn', 'timm', 'plotly'} & set(sys.modules)))"
    root = Path(__file__).parents[1]
    heavy = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True).stdout
    assert heavy.strip() == ""
