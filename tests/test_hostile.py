"""Every kind of archive that strangers send ends as it should, writes nothing, and is quick; so does any change of one."""

from __future__ import annotations

import tempfile
import time
import tracemalloc
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from hostile import CASES, CSV, PETS, tar_of, zip_of
from hypothesis import given
from hypothesis import strategies as st
from pets import peak_megabytes, sizes

from vpt_core.errors import UserError
from vpt_core.tasks import PAGE_LIMITS, import_classes, import_report, import_task
from vpt_core.tasks.layout import arrange
from vpt_core.tasks.names import LONGEST_NAME, clean_name, printable, shorten_all

LIMITS = replace(PAGE_LIMITS, total_bytes=30_000_000)  # small, for bombs that are quick to make


@pytest.mark.parametrize("name", CASES)
def test_an_archive_is_taken_or_refused_in_words(name, tmp_path, monkeypatch):
    case, path = CASES[name], tmp_path / name
    path.write_bytes(case.make())
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))
    begun = time.perf_counter()
    if case.images is None:
        with pytest.raises(UserError, match=case.words) as error:
            import_task(path, limits=LIMITS)
        assert len(str(error.value)) < 500 and "\n" not in str(error.value)
    else:
        task = import_task(path, limits=LIMITS)
        assert sizes(task) == case.images and len(task.report.skipped) == case.skipped, task.report.text()
    assert time.perf_counter() - begun < 10
    assert set(tmp_path.rglob("*")) == {path, tmp_path / "temp"}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says here what a process took at most")
def test_bombs_do_not_take_the_memory_that_they_claim(tmp_path):
    for name in (bombs := [name for name in CASES if "bomb" in name or "lie" in name or "long" in name]):
        (tmp_path / name).write_bytes(CASES[name].make())
    assert len(bombs) > 4 and peak_megabytes([tmp_path / name for name in bombs]) < 300


def test_names_in_a_tar_may_be_gbk(tmp_path):
    data = tar_of({path.replace("cat", "XX"): d for path, d in PETS.items()}, format=0)  # 0: ustar
    renamed = data.replace(b"XX/", "狗".encode("gbk") + b"/")
    fixed = bytearray(renamed)
    for at in range(0, len(fixed), 512):  # headers say the sum of their bytes
        if fixed[at + 257 : at + 262] == b"ustar":
            fixed[at + 148 : at + 156] = b" " * 8
            fixed[at + 148 : at + 156] = b"%06o\0 " % sum(fixed[at : at + 512])
    (tmp_path / "old.tar").write_bytes(fixed)
    task = import_task(tmp_path / "old.tar")
    assert sizes(task) == {"dog": 4, "狗": 4} and any("GBK" in line for line in task.report.notes)


TABLES = {
    "semicolons and case": ("File;Label\n" + "".join(f"{p.split('/')[1]};{p[7:10]}\n" for p in CSV), {}, "columns file, label"),
    "tabs": ("path\tclass\n" + "".join(f"{p}\t{p[7:10]}\n" for p in CSV), {}, "columns path, class"),
    "no endings, a BOM": ("\ufeffid,breed\n" + "".join(f"{p[7:-4]},{p[7:10]}\n" for p in CSV), {}, "columns id, breed"),
    "back slashes": ("image,category\n" + "".join(f".\\images\\{p[7:]},{p[7:10]}\n" for p in CSV), {}, "image, category"),
}


@pytest.mark.parametrize("case", TABLES)
def test_tables_of_labels_are_read(case, tmp_path):
    text, _, note = TABLES[case]
    (tmp_path / "x.zip").write_bytes(zip_of(CSV | {"meta.csv": text.encode()}))
    task = import_task(tmp_path / "x.zip")
    assert sizes(task) == {"cat": 4, "dog": 4} and not task.report.skipped
    assert any(note in line for line in task.report.notes), task.report.notes


def test_what_a_table_leaves_open_is_said(tmp_path):
    rows = [f"{path},{path[7:10]},{'test' if '_3' in path else 'night'}" for path in CSV if path != "images/cat_0.jpg"]
    rows += ["images/cat_1.jpg,dog,train", "gone.jpg,cat,train", "images/dog_2.jpg,,", ""]
    (tmp_path / "x.zip").write_bytes(zip_of(CSV | {"labels.csv": "\n".join(["file,label,split", *rows]).encode()}))
    report = import_task(tmp_path / "x.zip").report
    assert report.classes == {"cat": {"": 1, "test": 1}, "dog": {"": 2, "test": 1}}
    assert dict(report.skipped) == {"images/cat_0.jpg": "not in labels.csv", "images/cat_1.jpg": "has two labels in labels.csv",
                                    "images/dog_2.jpg": "has two labels in labels.csv"}  # fmt: skip
    assert any("1 files that are not images here: gone.jpg" in line for line in report.warnings)
    assert any("night" in line for line in report.notes)


def test_folders_go_before_a_table_and_a_table_without_columns_is_none(tmp_path):
    (tmp_path / "x.zip").write_bytes(zip_of(PETS | {"labels.csv": b"file,label\ncat/0.jpg,dog\n"}))
    report = import_task(tmp_path / "x.zip").report
    assert {name: sum(c.values()) for name, c in report.classes.items()} == {"cat": 4, "dog": 4} and len(report.skipped) == 1
    (tmp_path / "x.zip").write_bytes(zip_of(CSV | {"labels.csv": b"a,b\n1,2\n"}))
    with pytest.raises(UserError, match="Only one class"):
        import_task(tmp_path / "x.zip")


@pytest.mark.parametrize("table", [b"file,label\n" + b"x" * 200_000, b"file,label\n\0,\0\n", b'file,label\n"', b"\xff"])
def test_a_table_that_is_no_good_is_refused_in_words(table, tmp_path):
    (tmp_path / "x.zip").write_bytes(zip_of(CSV | {"labels.csv": table}))
    with pytest.raises(UserError):
        import_task(tmp_path / "x.zip")


def test_classes_given_one_by_one_are_the_same_task(tmp_path):
    (tmp_path / "x.zip").write_bytes(zip_of(PETS))
    files = []
    for path, data in PETS.items():
        files.append(tmp_path / path.replace("/", "_"))
        files[-1].write_bytes(data)
    task = import_classes({"cat": files[:4], " d\u200bog ": files[4:]}, "My pets")
    assert task.fingerprint == import_task(tmp_path / "x.zip").fingerprint and task.title == task.name == "My pets"
    with pytest.raises(UserError, match="Only one class"):
        import_classes({"cat": files}, "My pets")


def test_a_report_alone_is_the_same_and_takes_no_memory_for_its_images(tmp_path):
    (tmp_path / "x.zip").write_bytes(zip_of(PETS | {"dog/copy.png": PETS["cat/0.jpg"], "dog/no.jpg": b"no"}))
    assert import_report(tmp_path / "x.zip") == import_task(tmp_path / "x.zip").report
    many = {f"{name}/{i}.jpg": PETS[f"{name}/0.jpg"] for name in ("cat", "dog") for i in range(150)}
    (tmp_path / "many.zip").write_bytes(zip_of(many))
    tracemalloc.start()
    try:
        assert import_report(tmp_path / "many.zip").images == 300
        assert tracemalloc.get_traced_memory()[1] < 10e6  # the pixels of 300 are 45 MB
    finally:
        tracemalloc.stop()


ODD = ["..", ".", "", "train", "test", "cat", "CON", "a\0b", "\ud800", "\u202e", "C:", "x" * 300]
part = st.text(max_size=12) | st.sampled_from(ODD)


@given(st.lists(part, max_size=6).map("/".join))
def test_any_name_becomes_one_that_is_safe_to_show(name):
    clean = clean_name(name)
    assert clean and clean == clean_name(clean) and printable(clean).isprintable()
    assert not {unicodedata.category(char) for char in clean} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    short = shorten_all(sorted({clean, clean + "a", clean * 20}))
    assert len(set(short)) == len(short) and max(map(len, short)) <= LONGEST_NAME


@given(st.lists(st.lists(part.map(clean_name), min_size=1, max_size=5).map(tuple), min_size=1, max_size=12))
def test_any_paths_are_arranged_or_refused(paths):
    try:
        layout = arrange(paths)
    except UserError:
        return
    assert len(layout.places) == len(paths)
    for path, place in zip(paths, layout.places, strict=True):
        assert isinstance(place, str) or (place[0] in path and place[1] in ("", "train", "val", "test"))


GOOD = (zip_of(PETS), tar_of(PETS), zip_of(CSV | {"labels.csv": b"file,label\n" + b"cat_1.jpg,x\ndog_1.jpg,y\n"}))


@given(st.sampled_from(GOOD), st.integers(0, 10_000), st.binary(min_size=1, max_size=40), st.booleans())
def test_any_change_to_an_archive_is_survived(tmp_path_factory, data, at, noise, cut):
    path = tmp_path_factory.getbasetemp() / "changed.zip"
    at %= len(data)
    path.write_bytes(data[:at] + noise + (b"" if cut else data[at + len(noise) :]))
    try:
        assert import_task(path, limits=PAGE_LIMITS).report.text()
    except UserError as error:
        assert str(error)


def test_a_file_may_be_called_as_the_folder_around_all():
    assert arrange([("a",), ("a", "cat", "1"), ("a", "dog", "2")]).places == ["not in a class folder", ("cat", ""), ("dog", "")]
