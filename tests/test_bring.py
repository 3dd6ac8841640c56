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


@pytest.mark.parametrize(
    ("names", "counts", "cards", "whole"),
    [
        (["", ""], [0, 0], ["", ""], ""),
        (["cat", ""], [0, 0], ["No images yet.", ""], ""),
        (["", ""], [4, 0], ["4 images. Write above what they show.", ""],
         "4 images in 0 classes so far. Needed: 2 classes with 3 images each."),
        (["cat", "dog"], [1, 3], ["1 image. 2 more needed.", "3 images."],
         "4 images in 2 classes so far. Needed: 2 classes with 3 images each. “cat” has 1."),
        (["cat", " cat\u200b"], [1, 1], ["1 image of 2 with this name. 1 more needed."] * 2,
         "2 images in 1 class so far. Needed: 2 classes with 3 images each. “cat” has 2."),
        (["cat", "dog"], [3, 4], ["3 images.", "4 images."],
         "7 images in 2 classes so far: enough to begin. 5 or more in each give a usable test."),
        (["cat", "dog", ""], [5, 9, 1], ["5 images.", "9 images.", "1 image. Write above what they show."],
         "15 images in 2 classes so far. A card with images has no name yet."),
        (["<b>", "dog"], [1500, 700], ["1,500 images.", "700 images."],
         "2,200 images in 2 classes so far: more than the 2,000 that are taken here. Take some out."),
    ],
)  # fmt: skip
def test_cards_say_what_they_hold_and_what_is_lacking(names, counts, cards, whole):
    pad = bring.CARDS - len(names)
    said = bring.count(*names, *[None] * pad, *(["x"] * n or None for n in counts), *[None] * pad)
    assert said == [*cards, *[""] * pad, whole]
