"""What Look inside answers about many images: atlas, knock-out, near patches; no browser."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from app import downloads, knockouts, looking, pictures, settings, viewer
from app.figures import among_figure, knockout_figure
from app.figures.knockout import ACCURACY, IMAGE, MEAN
from app.results import all_results, cached_task
from app.tabs import atlas, knocked, knockout, near
from vpt_core.analysis import read_attention
from vpt_core.analysis.knockout import LAYERS
from vpt_core.runs import Run


@pytest.fixture
def key(finished_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The key of a result of VPT-deep with 2 prompts in 6 layers and 6 test images; nothing looked at yet."""
    monkeypatch.setattr(settings, "RUNS", finished_run.folder.parent)
    monkeypatch.setattr(Run, "knockout_file", lambda run, scope: tmp_path / scope)  # the run itself is only to be read
    looking._atlases.clear()
    looking._near.clear()
    yield next(k for k, result in all_results().items() if not result.recorded)


@pytest.fixture
def name(finished_run: Run) -> str:
    return finished_run.name


def _halves(text: str, *shape: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<f2").reshape(shape).astype(np.float64)


# ---- atlas

def test_all_images_and_a_class_are_shown_and_read_once(key: str, name: str, monkeypatch: pytest.MonkeyPatch):
    *_, last = atlas.draw(key, name, 0, atlas.TEST)
    assert last[0]["title"].startswith("Mean of 6 test images, VPT-deep") and last[1]["data"] and not last[2].visible
    monkeypatch.setattr(looking, "read_atlas", lambda *_: pytest.fail("read again"))
    (one,) = atlas.draw(key, name, 0, atlas.CLASS)
    assert one[0]["title"].startswith("Mean of 2 test images of “")
    whole, mine = (_halves(v["to_prompts"], 6, -1, 2) for v in (last[0], one[0]))
    rows = np.frombuffer(base64.b64decode(last[0]["rows"]), np.uint8)
    assert len(rows) == 6 * last[0]["heads"] * 2 * 4 and last[0]["idle"] == [True] * 6  # 6 layers, 2 prompts, 2 x 2 patches
    assert _halves(last[0]["spread"], 6, last[0]["heads"], 2, 2).max() > 0
    assert whole.shape == mine.shape and not np.allclose(whole, mine, atol=1e-4)


def test_one_image_is_left_to_the_other_event(key: str, name: str):
    (one,) = atlas.draw(key, name, 0, atlas.IMAGE)
    assert one[0] == one[1] == gr.skip()


def test_progress_of_an_atlas(key: str, name: str):
    first = next(atlas.draw(key, name, 0, atlas.TEST))
    assert first[2].visible and first[2].value["total"] == 6


def test_the_viewers_value_carries_the_prompts_rows(finished_run: Run, key: str):
    model = looking.classifier(finished_run).model
    image = pictures.test_pixels(finished_run, finished_run.spec.image_size)[1]
    seen = read_attention(model, image)
    value = viewer.image_value(image, seen, model, "title")
    heads, grid = value["heads"], value["grid"]
    rows = np.frombuffer(base64.b64decode(value["rows"]), np.uint8).reshape(6, heads, 2, *grid) / 255
    rows = rows * _halves(value["row_tops"], 6, heads, 2)[..., None, None]
    assert np.allclose(rows, np.stack(seen.prompt_rows), atol=2e-3) and value["idle"] == [True] * 6
    assert np.allclose(_halves(value["rollout"], 6, *grid), seen.rollout, atol=1e-3)
    assert np.allclose(_halves(value["received"], 6, heads, 2), np.stack(seen.received), atol=1e-3)


def test_rows_that_are_too_many_stay_away(finished_run: Run, key: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(viewer, "MOST_BYTES", 10)
    model = looking.classifier(finished_run).model
    image = pictures.test_pixels(finished_run, finished_run.spec.image_size)[1]
    assert "rows" not in viewer.image_value(image, read_attention(model, image), model, "title")


# ---- knock-out

def _knocked(key: str, name: str, scope: str = LAYERS, count: int = 4, token: str = "t") -> list[list[Any]]:
    return list(knockout.knock(key, name, scope, count, 5, token))


def test_knock_out_ends_with_a_sentence_and_begins_with_the_chosen_image(key: str, name: str):
    *progress, last = _knocked(key, name)
    assert [p[1]["done"] for p in progress] == [4, 8, 12, 16, 20, 24] and progress[0][1]["total"] == 24
    found, status, said = last
    assert found.images[0] == 5 and len(found.images) == 4 and status["text"] == "Done for 4 images."
    assert "6 knock-outs" in said
    chart, table = knockout.show(found, MEAN, 5)
    assert len(chart["data"][0]["x"]) == 6 and table.visible
    cells = knockout.rows(found, 5)
    assert len(cells) == 6 and cells[0][0].startswith("all prompts of layer ") and cells[0][5] != "not among them"
    assert knockout.rows(found, [i for i in range(6) if i not in found.images][0])[0][5] == "not among them"


def test_effects_that_are_charted(key: str, name: str):
    found = _knocked(key, name)[-1][0]
    charts = {effect: knockout_figure(found, effect, 5)["data"][0]["y"] for effect in (MEAN, ACCURACY, IMAGE)}
    assert np.allclose(charts[MEAN], found.log_probability.mean(axis=1), atol=1e-5)
    assert charts[ACCURACY] == found.accuracy.tolist()
    assert np.allclose(charts[IMAGE], found.log_probability[:, 0], atol=1e-5)
    assert knockout_figure(found, IMAGE, 99) is None


def test_the_chosen_images_logits_are_shown_and_can_be_included(key: str, name: str):
    found = _knocked(key, name)[-1][0]
    assert knocked.show(key, name, None, 5, knocked.LARGEST)[2] is None
    button, said, chart = knocked.show(key, name, found, 5, 2)
    bars = {bar["name"]: bar["y"] for bar in chart["data"]}
    assert not button.visible and said.startswith("Without all prompts of layer 3 the logit of image 6's true class")
    assert bars["with all prompts"] == pytest.approx(found.whole[0].tolist(), abs=1e-3)
    assert bars["without"] == pytest.approx(found.without[2, 0].tolist(), abs=1e-3)
    most = int(np.abs(found.log_probability[:, 0]).argmax())
    assert f"layer {most + 1} " in knocked.show(key, name, found, 5, knocked.LARGEST)[1]
    other = next(i for i in range(6) if i not in found.images)
    button, said, chart = knocked.show(key, name, found, other, 2)
    assert button.visible and "was not among the 4 images" in said and chart is None
    more = knocked.include(key, name, LAYERS, found, other)
    whole = _knocked(key, name, count=6)[-1][0]
    at = [int(np.flatnonzero(one.images == other)[0]) for one in (more, whole)]
    assert len(more.images) == 5 and np.allclose(more.without[:, at[0]], whole.without[:, at[1]], atol=1e-5)
    assert np.allclose(more.attention[:, at[0]], whole.attention[:, at[1]], atol=1e-6)
    assert knocked.show(key, name, more, other, 2)[2]["data"]
    assert knocked.pick(SimpleNamespace(_data={"customdata": 3})) == 3


def test_stop_before_anything_is_done_is_said(key: str, name: str):
    knockout._stopped.add("mine")
    (last,) = _knocked(key, name, token="mine")
    assert last[0] is None and last[1]["tone"] == "warn" and "mine" not in knockout._stopped


def test_what_was_found_is_found_again(key: str, name: str, finished_run: Run):
    assert knockout.recall(key, name, "throughout") == [None, None, ""] == knockout.recall(None, None, LAYERS)
    found, _, said = _knocked(key, name, count=3)[-1]
    again, status, words = knockout.recall(key, name, LAYERS)
    assert status["text"] == "Done before, for 3 images." and words == said
    assert again.removals == found.removals and (again.without == found.without).all()
    _knocked(key, name, count=2)
    assert len(knockouts.known(finished_run, LAYERS).images) == 3  # one of more images stays
    _knocked(key, name, count=4)
    assert len(knockouts.known(finished_run, LAYERS).images) == 4


def test_recorded_runs_stay_as_they_are(finished_run: Run, key: str, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(knockouts, "RECORDED", finished_run.folder.parent)
    _knocked(key, name, scope="throughout")
    assert not finished_run.knockout_file("throughout").exists()


def test_time_is_foretold(key: str, name: str):
    said, button = knockout.foretell(key, name, LAYERS, 200)
    assert said.startswith("6 of the 6 test images") and button.interactive
    few, many = (knockouts.seconds(all_results()[key].runs[0], scope, 6) for scope in (LAYERS, "each"))
    assert many > 1.5 * few > 0


def test_images_are_drawn_evenly_and_the_chosen_one_first():
    labels = np.repeat(np.arange(3), [20, 10, 2])
    some = pictures.even(labels, 9, 31)
    assert some[0] == 31 and len(set(some)) == 9 and np.bincount(labels[some]).tolist()[2] == 2
    assert np.bincount(labels[pictures.even(labels, 6)]).tolist() == [2, 2, 2]
    assert len(pictures.even(labels, 100)) == 32


# ---- near

def test_near_patches_are_found_once_and_shown(key: str, name: str, monkeypatch: pytest.MonkeyPatch):
    assert not near.show(key, name, 6, 1)[0].visible
    *_, last = near.find(key, name)
    assert last[0]["text"].endswith("training images, evenly over the classes.")
    assert [value for _, value in last[1].choices] == list(range(1, 7)) and [v for _, v in last[2].choices] == [1, 2]
    filled, said, gallery, chart = near.show(key, name, 3, 2)
    assert filled.visible
    known, pixels = looking.known_near(all_results()[key].runs[0])
    assert f"has cosine {known.cosine[2][1, 0]:.2f} to prompt 2" in said and len(gallery) == min(12, len(pixels))
    assert Image.open(gallery[0][0]).size == (224, 112)
    assert np.allclose(chart["data"][0]["z"], known.among[2], atol=1e-3)
    monkeypatch.setattr(looking, "find_near", lambda *_: pytest.fail("looked again"))
    assert len(list(near.find(key, name))) == 1


def test_near_patches_can_be_taken_away_as_csv(key: str, name: str):
    assert not near.pack(key, name).interactive
    list(near.find(key, name))
    button = near.pack(key, name)
    head, *lines = csv.reader(Path(button.value["path"]).read_text(encoding="utf-8").splitlines())
    known, pixels = looking.known_near(all_results()[key].runs[0])
    assert head == ["layer", "prompt", "rank", "image", "row", "column", "cosine"] and button.interactive
    assert len(lines) == 6 * 2 * min(12, len(pixels))
    layer, prompt, rank, image, row, column, cosine = next(line for line in lines if line[:3] == ["3", "2", "4"])
    task = cached_task(all_results()[key].runs[0].spec.task)
    which = pictures.train_images(all_results()[key].runs[0], looking.MOST_TRAIN)[known.image[2][1, 3]]
    assert image == task.names[which]
    assert [int(row) - 1, int(column) - 1] == [known.row[2][1, 3], known.column[2][1, 3]]
    assert float(cosine) == pytest.approx(known.cosine[2][1, 3], abs=1e-3)


def test_names_that_begin_like_a_formula_stay_text():
    path = downloads.csv_file("names", ["name"], [["=1+1"], ["a=b"], [-2]])
    assert path.read_text().splitlines() == ["name", "'=1+1", "a=b", "-2"]


def test_a_framed_patch_is_that_patch():
    image = np.zeros((32, 32, 3), np.uint8)
    image[16:24, 8:16] = (10, 200, 30)
    pair = pictures.framed(image, 2, 1, (4, 4))
    assert (pair[56, 56] == (10, 200, 30)).all() and (pair[70, 112 + 42] == (10, 200, 30)).all()
    assert not pair[5, 112 + 5].any() and pair[:, 112:, 0].max() > 200


def test_among_is_a_map_of_all_pairs():
    value = among_figure(np.eye(12, dtype=np.float32))
    assert np.array_equal(value["data"][0]["z"], np.eye(12))


def test_a_method_without_prompts_is_told_so(key: str, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(looking, "has_prompts", lambda run: False)
    button, status, *_ = near.offer(key, name)
    assert not button.interactive and "no prompt tokens" in status["text"]
