"""Bringing images to the page: class by class, from the hub, and the limits that an operator sets."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
import pytest
from pets import photo

from app import settings, sources
from app.tabs import bring
from vpt_core.errors import UserError


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(settings, "RUNS", tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    files = [tmp_path / f"{i}.jpg" for i in range(8)]
    for i, file in enumerate(files):
        file.write_bytes(photo(i))
    return [str(file) for file in files]


def values(names: list[str], files: list[list[str] | None]) -> list:
    pad = bring.CARDS - len(names)
    return [*names, *[""] * pad, *files, *[None] * pad]


def test_images_class_by_class_become_a_data_set(photos):
    source = bring.take_classes(*values(["cat", " cat ", "<b>dog</b>", "none"], [photos[:2], photos[2:4], photos[4:], None]))
    task = sources.task_of(source)
    assert task.classes == ("<b>dog</b>", "cat") and len(task.labels) == 8 and task.title == "Your images"


@pytest.mark.parametrize(
    ("names", "split", "words"),
    [(["cat", ""], True, "class 2 have no name"), (["cat", "cat"], True, "two classes"), (["", ""], False, "two classes")],
)
def test_cards_that_cannot_be_are_answered_with_a_sentence(names, split, words, photos, runs):
    with pytest.raises(gr.Error, match=words):
        bring.take_classes(*values(names, [photos[:4], photos[4:]] if split else [None, None]))
    assert not runs.exists()


def test_cards_are_shown_one_by_one():
    shown, button, *columns = bring._one_more(bring.CARDS - 1)
    assert shown == bring.CARDS and not button.visible and all(column.visible for column in columns)


def test_the_hub_is_asked_only_where_it_is_on_offer(monkeypatch):
    monkeypatch.setattr(settings, "HUB", False)
    with pytest.raises(UserError, match="does not fetch"):
        sources.take_from_hub("ada/pets", 20, lambda done, total: None)
    monkeypatch.setattr(settings, "HUB", True)
    monkeypatch.setattr(sources, "load_set", lambda name, *_: pytest.fail(name))
    with pytest.raises(UserError, match="Write the name"):
        sources.take_from_hub(" ", 20, lambda done, total: None)


def test_limits_are_settings_and_are_shown(monkeypatch):
    for name, value in {"VPT_IMAGES": "10000", "VPT_CLASSES": "7", "VPT_MEGAPIXELS": "12", "VPT_UNPACKED_MB": "1500"}.items():
        monkeypatch.setenv(name, value)
    limits = settings._limits()
    assert (limits.images, limits.entries, limits.total_pixels) == (10_000, 20_000, 20_000_000_000)
    monkeypatch.setattr(settings, "LIMITS", limits)
    assert "1,500 MB unpacked; 10,000 images of 12 megapixels and 20 MB each; 7 classes" in bring.rules()
    monkeypatch.setenv("VPT_IMAGES", "many")
    with pytest.raises(SystemExit, match="VPT_IMAGES is 'many'"):
        settings._limits()
