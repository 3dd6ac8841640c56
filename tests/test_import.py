"""Importing folders and zips from strangers: what is understood, what is left out and said, what is refused."""

from __future__ import annotations

import json
import re
import stat
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pets import peak_megabytes, photo, sizes, two_classes, zipped

from vpt_core.errors import UserError
from vpt_core.tasks import PAGE_LIMITS, STORE_SIZE, Limits, Report, Task, import_task, load_image, load_task
from vpt_core.tasks.names import clean_name, decode_zip_names, printable, shorten_all

HOSTILE = Path(__file__).parents[2] / "shared" / "bad_uploads"


def reasons(task: Task) -> dict[str, str]:
    return dict(task.report.skipped)


def test_a_folder_and_a_zip_of_it_are_the_same_task(tmp_path: Path) -> None:
    for path, data in two_classes().items():
        file = tmp_path / "pets" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    folder, archive = import_task(tmp_path / "pets"), import_task(zipped(tmp_path, two_classes()))
    assert folder.fingerprint == archive.fingerprint and folder.names == archive.names
    assert folder.classes == ("cat", "dog") and sizes(folder) == {"cat": 5, "dog": 5}
    assert folder.pixels.shape == (10, STORE_SIZE, STORE_SIZE, 3) and folder.name == "pets"
    assert (folder.pixels[0] == load_image(tmp_path / "pets" / "cat" / "0.jpg")).all()
    assert load_task(str(tmp_path / "pets.zip")).name == str(tmp_path / "pets.zip")


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    import_task(zipped(tmp_path, two_classes()), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(i, 10) for i in range(1, 11)]


@pytest.mark.parametrize("prefix", ["pets/", "a/b/c/", "train set/", "a/train/", "seg_train/seg_train/"])
def test_wrappers_are_peeled(tmp_path: Path, prefix: str) -> None:
    files = {prefix + path: data for path, data in two_classes().items()}
    task = import_task(zipped(tmp_path, files | {"readme.md": b"hello"}))
    assert sizes(task) == {"cat": 5, "dog": 5} and list(reasons(task)) == ["readme.md"]
    assert set(task.given) == ({"train"} if "train" in prefix else {""})


def test_given_splits_are_kept_and_flat_test_images_are_named(tmp_path: Path) -> None:
    folders = ("data/Training", "data/validation", "data/test_set")
    files = {
        f"{top}/{name}/{i}.png": photo(50 * t + 10 * c + i, "PNG")
        for t, top in enumerate(folders)
        for c, name in enumerate(("cat", "dog"))
        for i in range(5)
    }
    task = import_task(zipped(tmp_path, files | {"data/pred/x.jpg": photo(999), "data/test_set/y.jpg": photo(998)}))
    assert task.report.classes == {name: {"train": 5, "val": 5, "test": 5} for name in ("cat", "dog")}
    assert task.splits(7, 0).test.tolist() == np.flatnonzero(task.given == "test").tolist()
    assert reasons(task)["data/pred/x.jpg"].startswith("outside") and "data/test_set/y.jpg" in reasons(task)


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    files = {path.replace("cat/", "train/").replace("dog/", "bus/"): data for path, data in two_classes().items()}
    assert sizes(import_task(zipped(tmp_path, files | {"train/steam/9.jpg": photo(9)}))) == {"bus": 5, "train": 6}


def test_clutter_is_silent_and_the_rest_is_named(tmp_path: Path) -> None:
    clutter = [
        "__MACOSX/cat/._0.jpg",
        ".DS_Store",
        "cat/Thumbs.db",
        "dog/desktop.ini",
        "@eaDir/x/y.jpg",
        "cat/.ipynb_checkpoints/0.jpg",
    ]
    named = {
        "cat/list.txt": b"1,2",
        "stray.jpg": photo(5),
        "cat/new.heic": b"\0\0\0\x18ftypheic",
        "cat/x.jpg": photo(3)[:-200],
        "dog/inner.zip": b"PK\3\4rest",
        "dog/empty.png": b"",
        "bird/old.tif": b"II*\0",
        ".odd/a.jpg": photo(6),
    }
    task = import_task(zipped(tmp_path, two_classes() | dict.fromkeys(clutter, photo(1)) | named))
    assert sizes(task) == {"cat": 5, "dog": 5} and set(reasons(task)) == set(named)
    assert "JPEG" in reasons(task)["cat/new.heic"] and reasons(task)["cat/x.jpg"] == "damaged"
    assert any("bird" in line for line in task.report.warnings)


@pytest.mark.parametrize(
    "path", ["../x.jpg", "cat/../../x.jpg", "/etc/x.jpg", "C:/x/x.jpg", "C:\\x\\x.jpg", "..\\x.jpg", "\\\\s\\x.jpg"]
)
def test_unsafe_paths_are_left_out_and_nothing_is_written(tmp_path: Path, path: str) -> None:
    source = zipped(tmp_path, {path: photo(77)} | two_classes())
    task = import_task(source)
    assert sizes(task) == {"cat": 5, "dog": 5} and list(reasons(task).values()) == ["unsafe path"]
    assert list(tmp_path.iterdir()) == [source]


def test_links_devices_and_pipes_are_not_followed(tmp_path: Path) -> None:
    source = zipped(tmp_path, two_classes())
    with zipfile.ZipFile(source, "a") as archive:
        for name, kind in (("link", stat.S_IFLNK), ("pipe", stat.S_IFIFO), ("disk", stat.S_IFBLK)):
            member = zipfile.ZipInfo(f"cat/{name}.jpg")
            member.create_system, member.external_attr = 3, (kind | 0o644) << 16
            archive.writestr(member, photo(8))
    assert set(reasons(import_task(source))) == {"cat/link.jpg", "cat/pipe.jpg", "cat/disk.jpg"}


def test_links_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    for path, data in two_classes().items():
        (tmp_path / "pets" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / path).write_bytes(data)
    (tmp_path / "secret.jpg").write_bytes(photo(9))
    (tmp_path / "pets" / "cat" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (tmp_path / "pets" / "loop").symlink_to(tmp_path / "pets")
    task = import_task(tmp_path / "pets")
    assert sizes(task) == {"cat": 5, "dog": 5} and set(reasons(task)) == {"cat/link.jpg", "loop"}


def patched(change: Callable[[bytearray], None]) -> Callable[[Path], None]:
    def apply(path: Path) -> None:
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)

    return apply


def encrypt_all(data: bytearray) -> None:
    at = data.find(b"PK\1\2")
    while at >= 0:
        data[at + 8] |= 1
        at = data.find(b"PK\1\2", at + 1)


def share_one_body(data: bytearray) -> None:
    """Let the second member point at the first one's bytes."""
    second = data.find(b"PK\1\2", data.find(b"PK\1\2") + 1)
    data[second + 42 : second + 46] = b"\0\0\0\0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.write_bytes(b"<html>"), "not a zip"),
        (lambda path: path.write_bytes(b"Rar!\x1a\7\0"), "RAR"),
        (lambda path: path.write_bytes(photo(1)), "single image"),
        (patched(lambda data: data.__delitem__(slice(len(data) // 2, None))), "damaged or incomplete"),
        (patched(encrypt_all), "password"),
        (patched(share_one_body), "overlap"),
    ],
)
def test_what_is_no_good_zip_is_refused_in_one_sentence(tmp_path: Path, change: Callable[[Path], None], message: str) -> None:
    path = zipped(tmp_path, two_classes())
    change(path)
    with pytest.raises(UserError, match=message):
        import_task(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"1.jpg": photo(1), "2.jpg": photo(2)}, "2 images but no class folders"),
        ({"cat/1.jpg": photo(1), "cat/2.jpg": photo(2)}, "Only one class .“cat”"),
        ({"train/1.jpg": photo(1), "test/2.jpg": photo(2)}, "directly in test, train"),
        ({"test/cat/1.jpg": photo(1), "test/dog/2.jpg": photo(2)}, "images to train on"),
        ({"cat/": b"", "dog/": b""}, "no image"),
        ({"cat/a.zip": b"PK\3\4"}, "archive inside"),
        ({}, "pets.zip is empty"),
    ],
)
def test_a_layout_without_classes_is_explained(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(UserError, match=message):
        import_task(zipped(tmp_path, files))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(images=9), "10 images; 9"),
        (Limits(classes=1), "2 classes; 1"),
        (Limits(entries=9), "more than 9 files"),
        (Limits(total_bytes=2_000), "when unpacked"),
        (Limits(total_pixels=1_000), "too large to decode"),
        (Limits(file_bytes=50), "larger"),
    ],
)
def test_limits_are_kept(tmp_path: Path, limits: Limits, message: str) -> None:
    with pytest.raises(UserError, match=message):
        import_task(zipped(tmp_path, two_classes()), limits=limits)


class OldTool(zipfile.ZipInfo):
    """A member whose name is written in GBK, without the mark that says UTF-8."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:
        return self.filename.encode("gbk"), self.flag_bits & ~0x800


@pytest.mark.parametrize(("cat", "dog", "note"), [("小猫", "小狗", "GBK"), ("cat", "dog", "")])
def test_names_from_old_chinese_windows_are_read(tmp_path: Path, cat: str, dog: str, note: str) -> None:
    with zipfile.ZipFile(tmp_path / "old.zip", "w") as archive:
        for path, data in two_classes().items():
            archive.writestr(OldTool(path.replace("cat", cat).replace("dog", dog)), data)
    task = import_task(tmp_path / "old.zip")
    assert set(task.classes) == {cat, dog} and any(note in line for line in task.report.notes) == bool(note)


def test_german_names_from_old_windows_do_not_turn_chinese() -> None:
    stored = [name.encode("cp437").decode("cp437") for name in ("größe/1.jpg", "straße/1.jpg")]
    assert decode_zip_names(stored) == (stored, "cp437")


def test_names_that_look_the_same_become_one_class_and_it_is_said(tmp_path: Path) -> None:
    extra = {
        "dog\u200b/a.jpg": photo(60),
        "\u202ecat /b.jpg": photo(61),
        "Cat/c.jpg": photo(62),
        "ca\u0301t/d.jpg": photo(63),
        "c\u00e1t/e.jpg": photo(64),
        "b\x1b[31m/f.jpg": photo(65),
    }
    task = import_task(zipped(tmp_path, two_classes() | extra))
    assert sizes(task) == {"b[31m": 1, "Cat": 1, "cat": 6, "cát": 2, "dog": 6}
    assert sum("look the same" in line for line in task.report.notes) == 3
    assert any("case only" in line for line in task.report.warnings)


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    long = ["x" * 120 + ending for ending in "ab"]
    files = {f"{name}/{i}.jpg": photo(10 * c + i) for c, name in enumerate([*long, "y"]) for i in range(2)}
    task = import_task(zipped(tmp_path, files))
    assert len(set(task.classes)) == 3 and max(map(len, task.classes)) == 80
    assert shorten_all(["a", "b"]) == ["a", "b"]


def test_warnings_tell_what_spoils_a_result(tmp_path: Path) -> None:
    twin, leak = photo(70), photo(71)
    files = {f"train/{path}": data for path, data in two_classes(20).items()}
    files |= {"train/cat/twin.jpg": twin, "train/dog/twin.jpg": twin, "train/cat/leak.jpg": leak, "test/cat/leak.jpg": leak}
    files |= {"train/fox/1.jpg": photo(72), "train/owl/1.jpg": photo(73), "train/owl/2.jpg": photo(74)}
    task = import_task(zipped(tmp_path, files))
    expected = (
        "only be used for training: fox",
        "owl (2)",
        "Uneven",
        "twin.jpg = train/dog",
        "Also in train: 1",
        "test split: dog",
    )
    for part in expected:
        assert any(part in line for line in task.report.warnings), part
    assert not import_task(zipped(tmp_path, two_classes())).report.warnings


def test_a_report_survives_json_and_cannot_steer_a_terminal() -> None:
    report = Report("a\x1b]0;x\x07.zip", {"b\nc": {"": 2, "test": 1}}, [("d\u202e.jpg", "damaged")], ["w\r"], ["n"])
    assert Report.from_json(json.loads(json.dumps(report.to_json()))) == report
    assert all(line.isprintable() for line in report.text().splitlines()) and "(1 test)" in report.text()
    assert printable("\x1b[2J") == "\\x1b[2J" and clean_name(" \u200b\x00 ") == "unnamed"


def hostile_archives() -> list[dict]:
    if not HOSTILE.is_dir():
        return []
    return [entry for entry in json.loads((HOSTILE / "manifest.json").read_text())["files"] if entry["kind"] == "archive"]


CAUSES = {
    "no class folders": "no class folders", "class folders": "folders", "at least two": "Only one class",
    "no images": "no image", "empty": "is empty", "too many files": "more than 5,000 files",
    "an archive inside": "an archive inside",
    "a file name that": "names that cannot be read", "folders too deep": "folders deep", "overlapping": "overlap",
    "only zip files": "damaged|not a zip", "not a zip": "is not a zip", "damaged": "damaged", "password": "has a password",
    "a compression method": "not supported", "no usable images": "no image", "not a gzip": "not a zip",
}  # fmt: skip
"""How a cause in the manifest begins, and what the sentence says of it."""
OTHERWISE = {"archives/mixed_formats.zip": (10, 2), "archives/file_and_folder.zip": (8, 1)}
"""Images and files left out where the manifest leaves it open: TIFF is not read, and a file called as a folder is named."""


@pytest.mark.parametrize("entry", hostile_archives(), ids=lambda entry: entry["file"])
def test_hostile_archives(entry: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    begun = time.perf_counter()
    try:
        task = import_task(HOSTILE / entry["file"], limits=PAGE_LIMITS)
    except UserError as error:
        assert entry["expect"] != "accept", error
        said = next(words for cause, words in CAUSES.items() if entry["error"].startswith(cause))
        assert re.search(said, str(error)) and len(str(error)) < 500, error
    else:
        assert entry["expect"] != "reject"
        task.splits(0, 4)
        assert task.report.text()
        assert entry["classes"] in (None, sizes(task)) or entry["file"] in OTHERWISE
        found = len(task.labels), len(task.report.skipped)
        if entry["images"] is not None:
            assert found == OTHERWISE.get(entry["file"], (entry["images"], entry["skipped"]))
    assert time.perf_counter() - begun < 20 and not list(tmp_path.iterdir())


@pytest.mark.skipif(not HOSTILE.is_dir() or not Path("/proc/self/status").exists(), reason="no collection, or not Linux")
def test_hostile_archives_take_little_memory() -> None:
    assert peak_megabytes([HOSTILE / entry["file"] for entry in hostile_archives()]) < 400
