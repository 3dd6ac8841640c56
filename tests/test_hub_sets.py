"""Data sets by name from a hub on the loopback interface: sampled, split, named, and every failure in a sentence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import datasets
import pytest
from huggingface_hub import HfFileSystem, close_session, constants
from standin_sets import CONVERTED, Sets, serving, table

from vpt_core import tasks
from vpt_core.__main__ import main
from vpt_core.errors import UserError
from vpt_core.tasks import LIMITS, load_set, load_task
from vpt_core.tasks.hub_sets import Wanted, parse

NAME = "ada/pets"


@pytest.fixture(autouse=True)
def fresh() -> None:
    tasks._fetched.cache_clear()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sets]:
    with serving() as served:
        reach(monkeypatch, served.endpoint)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "sets")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
        yield served
    HfFileSystem.clear_instance_cache()
    close_session()


def reach(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    for module, name in ((constants, "ENDPOINT"), (datasets.config, "HF_ENDPOINT")):
        monkeypatch.setattr(module, name, endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    HfFileSystem.clear_instance_cache()
    close_session()


def refuse(source: str, words: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(UserError, match=words) as error:
        load_set(source)
    assert len(str(error.value)) < 500 and "\n" not in str(error.value) and time.perf_counter() - begun < 10


def test_a_set_with_splits_becomes_a_task(hub):
    files = {f"default/{split}/0000.parquet": table([0, 1] * 20, first=100 * i) for i, split in enumerate(("train", "test"))}
    hub.files[NAME] = {CONVERTED: files}
    task = load_task(f"hub:{NAME}@20")
    assert task.name == f"hub:{NAME}@20" and task.title == NAME
    assert task.report.classes == {"cat": {"train": 8, "test": 3}, "dog": {"train": 7, "test": 2}}
    assert load_set(f"hub:{NAME}@20").fingerprint == task.fingerprint and not task.report.skipped
    asked = len(hub.asked)
    assert load_task(f"hub:{NAME}@20") is task and len(hub.asked) == asked  # a comparison fetches it once
    assert not any("main" in line.rpartition("/")[2] for line in hub.asked)


def test_the_sets_own_files_are_read_where_the_hub_has_made_none(hub):
    """Sorted by class: files are read in turn, so that each class is met."""
    files = {f"data/train-{i:05d}-of-00003.parquet": table([i] * 12, ("a", "b", "c"), first=50 * i) for i in range(3)}
    hub.files[NAME] = {"main": files | {"README.md": b"---\nconfigs: []\n---", "data/readme.txt": b""}}
    task = load_set(f"hub:{NAME}@9")
    assert task.report.classes == {name: {"": 3} for name in "abc"}


def test_classes_that_are_not_met_and_images_without_label_are_said(hub):
    hub.files[NAME] = {CONVERTED: {"default/train/0000.parquet": table([0] * 30 + [1] * 30 + [-1], ("a", "b", "c"))}}
    task = load_set(f"hub:{NAME}@61")
    assert task.report.classes == {"a": {"": 21}, "b": {"": 21}} and len(task.report.skipped) == 1
    assert any(line.startswith("1 of 3 classes were not met in the first 61 rows: c") for line in task.report.warnings)


def test_columns_and_configurations_are_found(hub):
    texts = table(["tabby", "pug"] * 6, datasets.Value("string"), ("img", "category"))
    large = table([0, 1] * 9, first=50)
    hub.files[NAME] = {CONVERTED: {"small/train/0.parquet": texts, "large/partial-train/0.parquet": large}}
    assert load_set(f"hub:{NAME}:small@8").classes == ("pug", "tabby")
    task = load_set(f"hub:{NAME}@8")
    assert task.classes == ("cat", "dog") and any("configuration large of large, small" in line for line in task.report.notes)
    refuse(f"hub:{NAME}:huge", "no configuration 'huge'. Choose one of: large, small")


def test_what_is_no_set_of_labelled_images_is_refused(hub):
    hub.files[NAME] = {CONVERTED: {"default/train/0.parquet": table(["x"] * 4, datasets.Value("string"), ("image", "caption"))}}
    refuse(f"hub:{NAME}", "has the columns image .Image., caption .Value.")
    hub.files["ada/text"] = {"main": {"data.csv": b"a,b"}}
    refuse("hub:ada/text", "no parquet files")
    hub.files["ada/broken"] = {"main": {"train.parquet": b"PAR1" + bytes(400)}}
    refuse("hub:ada/broken", "could not be asked|damaged")


def test_the_card_of_a_set_cannot_name_files_elsewhere(hub, tmp_path):
    """`datasets` alone would follow a path of this computer, or any address."""
    (tmp_path / "secret.parquet").write_bytes(table([0, 1] * 4))
    card = f"---\nconfigs:\n- config_name: default\n  data_files: {tmp_path}/secret.parquet\n---\n".encode()
    hub.files[NAME] = {"main": {"README.md": card, "train.parquet": table([0, 1] * 4, ("x", "y"), first=90)}}
    assert load_set(f"hub:{NAME}").classes == ("x", "y")
    assert not any("README" in line for line in hub.asked)


def test_limits_hold(hub):
    hub.files[NAME] = {CONVERTED: {"default/train/0000.parquet": table([0, 1] * 20)}}
    with pytest.raises(UserError, match="50 images were asked for; 2 to 10"):
        load_set(f"hub:{NAME}@50", replace(LIMITS, images=10))
    task = load_set(f"hub:{NAME}", replace(LIMITS, total_bytes=6_000))
    assert 4 < len(task.labels) < 20


def test_what_cannot_be_reached_is_said(hub, monkeypatch):
    refuse("hub:ada/nothing", "no data set ada/nothing at http://127")
    hub.gated.add("ada/closed")
    refuse("hub:ada/closed", "accept its terms at http://127.0.0.1:[0-9]+/datasets/ada/closed and set HF_TOKEN")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    refuse(f"hub:{NAME}", "HF_HUB_OFFLINE forbids")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    reach(monkeypatch, "http://127.0.0.1:9")
    refuse(f"hub:{NAME}", "http://127.0.0.1:9 could not be asked for ada/pets .*set HF_ENDPOINT to a mirror")


@pytest.mark.parametrize("source", ["hub:", "hub:../x", "hub:a/b/c", "hub:a/..", "hub:/etc/passwd", "hub:-a/b", "hub:a@x"])
def test_a_name_that_is_none_is_refused_before_anything_is_asked(hub, source):
    refuse(source, "does not name a data set")
    assert not hub.asked


def test_names_are_parsed():
    assert parse("hub:ada/pets:small@50") == Wanted("ada/pets", "small", 50)
    assert parse("hub:mnist", replace(LIMITS, images=300)) == Wanted("mnist", "", 300)


def test_the_command_checks_a_set(hub, capsys):
    hub.files[NAME] = {CONVERTED: {"default/train/0000.parquet": table([0, 1] * 6)}}
    assert main(["check", f"hub:{NAME}"]) == 0
    assert "ada/pets: 12 images in 2 classes" in capsys.readouterr().out
    assert main(["check", "hub:ada/none"]) == 2
