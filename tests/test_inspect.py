"""What the tabs Compare and Look inside answer, on runs of a tiny backbone; no browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from faked import on_show

from app import inside, settings
from app.messages import shows_user_errors
from app.results import Result, all_results, cached_task
from app.tabs import compare, differences, inspect, movement
from vpt_core.analysis import knn_accuracy, pca_maps, umap_maps
from vpt_core.errors import UserError


@pytest.fixture
def key(two_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return on_show(two_runs, tmp_path, monkeypatch)


@pytest.fixture
def gone(key: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same when the data set is not there any more."""
    cached_task.cache_clear()
    inside.pictures._sheet.cache_clear()

    def refuse(source: str) -> None:
        raise UserError("There is no task 'x'.")

    monkeypatch.setattr("app.results.load_task", refuse)
    return key


@pytest.fixture
def nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "RUNS", tmp_path / "none")
    monkeypatch.setattr("app.results.RECORDED", tmp_path / "none")


def _event(**data: object) -> SimpleNamespace:
    return SimpleNamespace(**data)


def _names(key: str) -> list[str]:
    return [run.name for run in all_results()[key].runs]


def _called(result: Result, image: int) -> int:
    return int(result.runs[1].array("logits")[image].argmax())


# ---- messages

def test_a_user_error_is_shown_as_text():
    @shows_user_errors
    def handler() -> None:
        raise UserError("“<b>cat</b>” has no images.")

    with pytest.raises(gr.Error) as caught:
        handler()
    assert caught.value.message == "“&lt;b&gt;cat&lt;/b&gt;” has no images." and not caught.value.print_exception


def test_a_bug_is_logged_under_the_code_that_is_shown(caplog: pytest.LogCaptureFixture):
    @shows_user_errors
    def handler() -> Iterator[int]:
        yield 1
        raise KeyError("secret place")

    steps = handler()
    assert next(steps) == 1
    with pytest.raises(gr.Error) as caught:
        next(steps)
    code = caught.value.message.split("code ")[1][:4]
    assert code in caplog.text and "secret place" in caplog.text and "secret" not in caught.value.message


def test_gradio_sees_what_a_decorated_handler_is():
    import inspect as python
    assert python.isgeneratorfunction(movement.draw)
    assert list(python.signature(inspect.choose).parameters) == ["images", "event"]


# ---- compare

def test_compare_shows_a_matrix_for_each_run(key: str):
    said, accuracy, table, lines, classes, *rest = compare.show(key)
    frames, matrices, which = rest[:3], rest[3:6], rest[6]
    assert "of 6" in said and accuracy["data"] and lines["data"] and classes["data"]
    assert len(table["data"]) == 2 and which == ""
    assert [f.visible for f in frames] == [True, True, False] and matrices[2] is None
    assert matrices[0]["layout"]["title"]["text"] == "Linear probe"


def test_without_results_every_component_is_empty(nothing: None):
    assert compare.show(None)[1:5] == [None] * 4
    assert inspect.show_image(None, None, 0)[1:3] == [None, None]
    assert next(movement.draw(None, None, "class", movement.ALL, 0))[:2] == [None, None]
    assert inspect.show_strip(None, None, "all", 0)[1] == []
    assert differences.offer(None)[2] == []


def test_a_click_on_a_cell_shows_its_images(key: str):
    run = all_results()[key].runs[1]
    said = run.array("logits").argmax(axis=1)
    true, called = int(run.labels[0]), int(said[0])
    heading, gallery, images = differences._opener(1, 3)(key, _event(_data={"index": [true, called]}))
    assert images == [i for i in range(6) if run.labels[i] == true and said[i] == called]
    assert len(gallery.value.root if hasattr(gallery.value, "root") else gallery.value) == len(images)
    assert f"true “{run.classes[true]}”, called “{run.classes[called]}”" in heading


def test_disagreements_are_what_only_one_gets_right(key: str, monkeypatch: pytest.MonkeyPatch):
    first, second = _names(key)
    rights = {first: np.array([1, 1, 0, 0, 0, 0], bool), second: np.array([1, 0, 1, 1, 0, 0], bool)}
    monkeypatch.setattr(differences, "right", lambda run: rights[run.name])
    only_second, _, images, only_first, _, others = differences.disagreements(key, first, second)
    assert images == [2, 3] and others == [1]
    assert only_second.startswith("VPT-deep (Prompt tokens 2) right, Linear probe wrong: 2 images")
    assert only_first.endswith("1 image")


def test_a_clicked_image_is_chosen(key: str):
    image, button = differences.choose([4, 2], _event(index=1))
    assert image == 2 and button.visible and "image 3" in button.value
    assert inspect.choose([4, 2], _event(index=0)) == 4


# ---- look inside

def test_the_last_run_and_an_existing_image_are_offered(key: str):
    run, image, only = inspect.offer(key, "gone", 99)
    assert run.value == _names(key)[-1] and image == 0
    assert inspect.offer(key, _names(key)[0], 3)[0].value == _names(key)[0]
    assert [value for _, value in only.choices] == [-1, 0, 1, 2]


def test_the_filters_of_the_strip(key: str, monkeypatch: pytest.MonkeyPatch):
    first, second = _names(key)
    rights = {first: np.array([1, 1, 0, 0, 0, 0], bool), second: np.array([1, 0, 1, 0, 0, 0], bool)}
    monkeypatch.setattr(inspect, "right", lambda run: rights[run.name])
    result = all_results()[key]
    assert inspect.strip_images(result, 0, "all") == list(range(6))
    assert inspect.strip_images(result, 0, "wrong") == [2, 3, 4, 5]
    assert inspect.strip_images(result, 1, "disagree") == [1, 2]
    surest = inspect.strip_images(result, 0, "sure")
    confidence = torch.softmax(torch.from_numpy(result.runs[0].array("logits")), dim=1).amax(dim=1)[surest]
    assert sorted(surest) == [2, 3, 4, 5] and confidence.tolist() == sorted(confidence.tolist(), reverse=True)
    gallery, images, said = inspect.show_strip(key, first, "disagree", 2)
    assert images == [1, 2] and gallery.selected_index == 1
    assert said == "2 images on which methods disagree."
    rights[first][:] = True
    assert inspect.strip_images(result, 0, "sure") == []


def test_the_strip_follows_the_chosen_image(key: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inspect, "SHOWN", 4)
    name = _names(key)[0]
    gallery, images, said = inspect.show_strip(key, name, "all", 5)
    assert images == [4, 5] and gallery.selected_index == 1 and said == "Test images 5 to 6 of 6."
    assert inspect.follow(key, name, "all", 4, images)[0].selected_index == 0
    assert inspect.follow(key, name, "all", 0, images)[1] == [0, 1, 2, 3]


def test_attention_of_prompts_and_of_the_frozen_model(key: str):
    linear, deep = _names(key)
    line, viewer, shares, missing = inspect.show_image(key, deep, 3)
    assert line.startswith("Image 4 of 6") and viewer["prompts"] == [2] * viewer["layers"] and shares["data"]
    assert not missing.visible
    _, viewer, shares, _ = inspect.show_image(key, linear, 3)
    assert set(viewer["prompts"]) == {0} and shares is None and "frozen model" in viewer["title"]


def test_attention_is_computed_once(key: str, monkeypatch: pytest.MonkeyPatch):
    calls = []
    real = inside.read_attention
    monkeypatch.setattr(inside, "read_attention", lambda *args: calls.append(1) or real(*args))
    for image in (0, 0, 1, 0):
        inspect.show_image(key, _names(key)[1], image)
    assert len(calls) == 2


def test_without_the_data_set_the_numbers_stay(gone: str):
    name = _names(gone)[1]
    line, viewer, _, missing = inspect.show_image(gone, name, 0)
    assert line.startswith("Image 1") and viewer is None and missing.visible and "not on this computer" in missing.value
    assert inspect.show_strip(gone, name, "all", 0)[1] == []
    result = all_results()[gone]
    heading, gallery, images = differences.cell_images(result, 1, int(result.runs[1].labels[0]), _called(result, 0))
    assert "not on this computer" in heading and not gallery.visible and images == []
    assert movement.redraw(gone, name, "class", movement.ALL, 0)[0]["data"]
    assert compare.show(gone)[1]["data"]


def test_maps_begin_with_pca_and_are_kept(key: str, monkeypatch: pytest.MonkeyPatch):
    drawn = []
    monkeypatch.setattr(inside, "umap_maps", lambda a, b: drawn.append(1) or pca_maps(a, b))
    name = _names(key)[1]
    first, last = list(movement.draw(key, name, "class", movement.ALL, 0))
    assert first[2] == movement._WAIT and last[2] == "Drawn by UMAP." and "5 nearest neighbours" in last[3]
    # While it was being drawn another image may have been chosen, and was shown: the end changes nothing of that.
    assert first[0]["data"] and "data" not in last[0] and "data" not in last[1]
    kept = np.load(settings.RUNS / name / "umap.npy", allow_pickle=False)
    assert kept.shape == (2, 6, 2) and kept.dtype == np.float32
    assert len(list(movement.draw(key, name, "right", 1, 0))) == 1 and len(drawn) == 1


def test_maps_stay_in_memory_when_the_folder_cannot_be_written(key: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, array: np.ndarray) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(inside, "write_array", refuse)
    monkeypatch.setattr(inside, "umap_maps", pca_maps)
    run = all_results()[key].runs[1]
    maps = inside.draw_maps(run)
    again = inside.recorded_maps(run)
    assert not (run.folder / "umap.npy").exists() and np.array_equal(maps.after, again.after)


def test_the_probe_says_that_both_maps_are_the_same(key: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inside, "umap_maps", pca_maps)
    *_, last = movement.draw(key, _names(key)[0], "class", movement.ALL, 0)
    assert "same" in last[2] and "leaves the features as they are" in last[3]


def test_a_clicked_point_is_an_image(key: str):
    assert movement.choose(key, _event(_data={"customdata": 3})) == 3
    assert movement.choose(key, _event(_data={"customdata": [4]})) == 4
    with pytest.raises(gr.Error, match="no test image 100"):
        movement.choose(key, _event(_data={"customdata": 99}))


# ---- maps and neighbours

def _clusters(each: int, apart: float) -> tuple[np.ndarray, np.ndarray]:
    noise = np.random.default_rng(0).normal(size=(3 * each, 8)).astype(np.float32)
    labels = np.repeat(np.arange(3), each)
    return noise + apart * np.eye(3, 8, dtype=np.float32)[labels], labels


def test_neighbours_know_clusters_and_not_noise():
    assert knn_accuracy(*_clusters(20, 40.0)).correct == 60
    assert knn_accuracy(*_clusters(20, 0.0)).correct < 40


def test_an_image_is_not_its_own_neighbour():
    features, labels = _clusters(20, 40.0)
    shuffled = np.array([0, 1])
    assert knn_accuracy(features[[0, 1]], shuffled).correct == 0
    assert knn_accuracy(features, labels, k=1).correct == 60


def test_a_tie_goes_to_the_nearer_neighbour():
    angles = np.array([0.0, 0.1, 0.3, 2.0, 2.1])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert knn_accuracy(features[:3], np.array([1, 1, 0]), k=2).correct == 2


def test_neighbours_need_two_images():
    with pytest.raises(UserError, match="this run has 1"):
        knn_accuracy(np.ones((1, 4)), np.zeros(1, int))


def test_pca_takes_out_a_common_shift_and_scale():
    before, _ = _clusters(20, 40.0)
    maps = pca_maps(before, 3 * before + 100)
    assert maps.before.shape == (60, 2) and np.allclose(maps.before, maps.after, atol=1e-4)


@pytest.mark.slow
def test_the_second_umap_lies_on_the_first():
    before, _ = _clusters(20, 10.0)
    maps = umap_maps(before, before + np.float32(0.01) * np.random.default_rng(1).normal(size=before.shape).astype(np.float32))
    assert np.allclose(maps.before.mean(axis=0), 0, atol=1e-4) and np.allclose(maps.after.mean(axis=0), 0, atol=1e-4)
    assert np.corrcoef(maps.before.ravel(), maps.after.ravel())[0, 1] > 0.9
