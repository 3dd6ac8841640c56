"""What Look inside answers about the way through the epochs, neighbours, and maps of two runs; no browser."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from faked import on_show

from app import flat, inside, journeys, looking
from app.figures import maps
from app.journeys import LAST
from app.results import all_results, cached_task
from app.tabs import around, journey, movement
from vpt_core.analysis import knn_accuracy, nearest, pca_maps
from vpt_core.errors import UserError
from vpt_core.runs import Run


@pytest.fixture(scope="module")
def followed(two_runs: Path, finished_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`two_runs`, and VPT-deep of them was followed."""
    root = Path(shutil.copytree(two_runs, tmp_path_factory.mktemp("followed") / "runs"))
    for _ in journeys.walk(Run(root / finished_run.name), lambda: False):
        pass
    return root


@pytest.fixture
def key(followed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(inside, "umap_maps", pca_maps)
    return on_show(followed, tmp_path, monkeypatch)


def _names(key: str) -> list[str]:
    return [run.name for run in all_results()[key].runs]


def _run(key: str, at: int = 1) -> Run:
    return all_results()[key].runs[at]


def _show(key: str, method: str = "pca", by: str = "class", image: int = 0) -> list[list[Any]]:
    return list(journey.show(key, _names(key)[1], LAST, method, by, movement.ALL, image))


# ---- the way through the epochs

def test_a_journey_begins_and_ends_with_what_the_run_holds(key: str):
    run = _run(key)
    found = journeys.known(run)
    assert found.epochs == (1, 2, 3) and found.features.shape == (5, 24, 64)
    tested = found.place != journeys.NONE
    assert tested.sum() == 6 and sorted(found.place[tested]) == list(range(6))
    order = found.place[tested]
    for step, name in ((0, "frozen"), (-1, "features"), (run.status["best_epoch"], "features")):
        assert np.allclose(found.features[step][tested], run.array(name)[order], atol=1e-5)
    assert (found.labels[tested] == run.labels[order]).all()
    assert (found.said[tested] == run.array("logits").argmax(1)[order]).all()
    task = cached_task(run.spec.task)
    train = task.splits(run.spec.seed, run.spec.shots).train
    assert set(found.images[~tested]) == set(train.tolist()) and found.names[0] == task.names[found.images[0]]
    assert found.steps(2) == ["frozen", "epoch 1", "epoch 2", "epoch 3", "tuned (epoch 2)"]


def test_it_is_kept_without_pickle_and_read_again(key: str, monkeypatch: pytest.MonkeyPatch):
    folder = _run(key).folder
    assert np.load(folder / "journey.npy", allow_pickle=False).dtype == np.float32
    json.loads((folder / "journey.json").read_text())
    monkeypatch.setattr(journeys, "follow", lambda *_: pytest.fail("followed again"))
    journeys._read.cache_clear()
    assert _show(key)[0][0]["frames"]


def test_the_chart_has_a_step_for_each_state_and_the_same_points(key: str):
    ((value, said),) = _show(key, image=3)
    frames, traces = value["frames"], value["data"]
    assert [frame["name"] for frame in frames][0] == "frozen" and len(frames) == 5 and "PCA" in said and value["thumbs"]
    for frame in frames:
        assert len(frame["traces"]) == len(frame["data"])
        for t, data in zip(frame["traces"], frame["data"], strict=True):
            assert len(data["x"]) == len(data["y"]) == len(traces[t].get("customdata") or [0])
    clicks = [tuple(c) for trace in traces for c in trace.get("customdata", [])]
    assert sorted(c[0] for c in clicks) == list(range(24)) and sum(c[1] == journeys.NONE for c in clicks) == 18
    ring = frames[1]["data"][-1]
    places = journeys.places(_run(key), "pca")
    at = int(np.flatnonzero(journeys.known(_run(key)).place == 3)[0])
    assert [ring["x"][0], ring["y"][0]] == pytest.approx(places[1, at].tolist(), abs=1e-3)
    low, high = value["layout"]["xaxis"]["range"]
    assert all(low < x < high for frame in frames for data in frame["data"] for x in data["x"])


def test_pca_stands_in_until_another_map_is_drawn(key: str):
    first, last = _show(key, "tsne")
    assert "PCA" in first[1] and last[1] == "Drawn by t-SNE, all steps in one frame."
    assert len(_show(key, "tsne")) == 1


def test_points_are_coloured_by_split_and_confidence(key: str):
    names = {trace.get("name") for trace in _show(key, by="split")[0][0]["data"]}
    assert {"test images", "training images"} <= names
    value = _show(key, by="confidence")[0][0]
    shown = [c for trace in value["data"] if "customdata" in trace for c in trace["marker"]["color"]]
    assert len(shown) == 24 and 1 / 3 <= min(shown) <= max(shown) <= 1 and value["layout"]["coloraxis"]["cmax"] == 1


def test_only_test_images_are_chosen_by_a_click():
    assert journey.choose(SimpleNamespace(_data={"customdata": [9, 4]})) == 4
    assert journey.choose(SimpleNamespace(_data={"customdata": [9, journeys.NONE]})) == gr.skip()


def test_time_is_foretold_and_progress_told(key: str):
    name, run = _names(key)[1], _run(key)
    assert journey.foretell(key, name)[0] == "24 images through 3 of 3 kept epochs: done."
    (run.folder / "journey.json").unlink()
    assert "some seconds" in journey.foretell(key, name)[0] and _show(key) == [[None, ""]]
    *progress, last = journey.follow(key, name, LAST, "mine")
    assert [p["done"] for p in progress] == [24 * k + n for k in range(5) for n in (16, 24)] and progress[0]["total"] == 120
    assert last["text"] == "Done: 24 images." and journeys.known(run)


def test_stopped_it_keeps_nothing(key: str):
    name, run = _names(key)[1], _run(key)
    (run.folder / "journey.json").unlink()
    journey._stopped.add("mine")
    (last,) = journey.follow(key, name, LAST, "mine")
    assert "nothing was kept" in last["text"] and journeys.known(run) is None and "mine" not in journey._stopped


def test_an_earlier_layer_is_followed_and_kept_beside_the_last(key: str):
    name, run = _names(key)[1], _run(key)
    assert list(journey.show(key, name, 2, "pca", "class", movement.ALL, 0)) == [[None, ""]]
    assert "some seconds" in journey.foretell(key, name, 2)[0]
    *progress, last = journey.follow(key, name, 2, "mine")
    assert progress[-1]["total"] == 120 and last["text"] == "Done: 24 images."
    early, late = journeys.known(run, 2), journeys.known(run)
    assert early.features.shape == late.features.shape and np.abs(early.features - late.features).max() > 1e-2
    assert (early.said == late.said).all() and (run.folder / "journey-2.npy").exists()
    ((value, _),) = journey.show(key, name, 2, "pca", "class", movement.ALL, 0)
    assert len(value["frames"]) == 5


def test_the_last_layer_is_followed_first(key: str):
    run = _run(key)
    (run.folder / "journey.json").unlink()
    *_, last = journey.follow(key, run.name, 3, "mine")
    assert last["text"] == "Done: 24 images." and journeys.known(run) and journeys.known(run, 3)


def test_recorded_runs_stay_as_they_are(key: str, monkeypatch: pytest.MonkeyPatch):
    run = _run(key)
    monkeypatch.setattr(journeys, "RECORDED", run.folder.parent)
    list(journey.follow(key, run.name, 4, "mine"))
    assert journeys.known(run, 4) and not (run.folder / "journey-4.npy").exists()


def test_runs_without_epochs_say_why(key: str, monkeypatch: pytest.MonkeyPatch):
    linear, deep = _names(key)
    said, button = journey.foretell(key, linear)
    assert said.startswith("A linear probe leaves the features") and not button.interactive
    shutil.rmtree(_run(key).folder / "epochs")
    said, button = journey.foretell(key, deep)
    assert said.startswith("This run kept no epochs: it was made before") and not button.interactive
    (last,) = journey.follow(key, deep, LAST, "t")
    assert last["tone"] == "warn"
    monkeypatch.setattr(journeys.epochs, "MOST_EACH", 100)
    assert "more than" in journeys.why_not(_run(key))


def test_of_many_epochs_some_are_followed(key: str, monkeypatch: pytest.MonkeyPatch):
    folder = _run(key).folder / "epochs"
    for number in range(4, 101):
        shutil.copy(folder / "001.safetensors", folder / f"{number:03}.safetensors")
    some = list(journeys.chosen_epochs(_run(key)))
    assert len(some) == journeys.MOST_EPOCHS and some[0] == 1 and some[-1] == 100


# ---- maps of two runs

def test_another_run_can_stand_on_the_left(key: str):
    linear, deep = _names(key)
    menu, _ = movement.choices(key, deep, "gone", LAST)
    assert [value for _, value in menu.choices] == [flat.UNTUNED, linear] and menu.value == flat.UNTUNED
    (said,) = movement.draw(key, deep, "class", movement.ALL, 0, "pca", linear)
    assert "as they were before tuning" in said[5] and said[6].startswith("After tuning: VPT-deep")
    (own,) = movement.draw(key, deep, "class", movement.ALL, 0, "pca", flat.UNTUNED)
    assert own[5] == "Before tuning (frozen backbone)"
    last, untuned = (movement.redraw(key, deep, "class", movement.ALL, 0, "pca", left)[0] for left in (linear, flat.UNTUNED))
    assert _places(last) == pytest.approx(_places(untuned), abs=1e-5)  # a probe's features are the untuned ones
    crosses = {n for t in last["data"] if "customdata" in t and t["marker"]["symbol"] == "x" for n in t["customdata"]}
    probe = _run(key, 0)
    assert crosses == set(np.flatnonzero(probe.array("logits").argmax(1) != probe.labels).tolist())


def test_maps_table_and_neighbours_are_those_of_the_chosen_layer(key: str):
    name, run = _names(key)[1], _run(key)
    looking._layered.clear()
    _, menu = movement.choices(key, name, flat.UNTUNED, 99)
    assert [value for _, value in menu.choices] == [LAST, 5, 4, 3, 2, 1] and menu.value == LAST
    asked = (key, name, "class", movement.ALL, 0, "pca", flat.UNTUNED)
    assert movement.redraw(*asked, 3) == [gr.skip()] * 2 and around.show(key, name, flat.UNTUNED, 0, 3) == [gr.skip()] * 8
    *progress, said = movement.draw(*asked, 3)
    assert progress[0][2] == "Reading the layers of the model: 6 of 6 test images ..."
    assert said[4]["headers"][0] == "in all dimensions of layer 3" and said[6].endswith("), layer 3")
    features = flat.pair(all_results()[key], run, flat.UNTUNED, 3).features
    assert said[4]["data"][0][1].startswith(f"{knn_accuracy(features[0], run.labels).correct} of 6")
    early, late = (_places(movement.redraw(*asked, layer)[1]) for layer in (3, LAST))
    assert early.keys() == late.keys() and early != pytest.approx(late, abs=1e-3)
    first = around.show(key, name, flat.UNTUNED, 0, 3)
    assert first[2] == nearest(features[0], 0, around.COUNT)[0].tolist() and "layer 3" in first[0]


def test_points_are_coloured_by_the_methods_that_are_right(key: str):
    runs = all_results()[key].runs
    value = movement.redraw(key, runs[1].name, maps.METHOD, movement.ALL, 0, "pca")[1]
    assert set(maps.AGREEMENT) <= {trace.get("name") for trace in value["data"]}
    shown = [trace for trace in value["data"] if "customdata" in trace]
    inks = dict(pair for t in shown for pair in zip(t["customdata"], t["marker"]["color"], strict=True))
    good = np.stack([run.array("logits").argmax(1) == run.labels for run in runs])
    for image, ink in inks.items():
        expected = 0 if good[:, image].all() else 3 if not good[:, image].any() else 1 if good[1, image] else 2
        assert ink == maps._AGREEMENT_INKS[expected]


def _places(value: dict[str, Any]) -> dict[int, float]:
    """Where each image lies on the first axis, by its number."""
    return {n: x for trace in value["data"] if "customdata" in trace
            for n, x in zip(trace["customdata"], _numbers(trace["x"]), strict=True)}


def _numbers(values: Any) -> list[float]:
    return np.frombuffer(base64.b64decode(values["bdata"]), values["dtype"]).tolist() if isinstance(values, dict) else values


def test_a_choice_of_another_result_gives_way(key: str):
    shown = flat.pair(all_results()[key], _run(key), "a run that is not here")
    assert shown.other is None
    assert flat.pair(all_results()[key], _run(key), _run(key).name).other is None


def test_the_full_space_is_measured_on_both_sides(key: str):
    value = flat.table(all_results()[key], flat.Pair(_run(key)))
    assert value["headers"][1:3] == ["Before tuning (frozen backbone)", "After tuning: VPT-deep (Prompt tokens 2)"]
    assert [row[0] for row in value["data"]] == ["5 nearest neighbours", "silhouette", "linear separability"]
    assert value["data"][0][1].endswith("%)") and float(value["data"][1][2]) == pytest.approx(0, abs=1)


def test_too_few_images_for_a_number_are_said(key: str, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object) -> None:
        raise UserError("too few")

    flat._numbers.cache_clear()
    monkeypatch.setitem(flat.MEASURES, "silhouette", refuse)
    assert flat.table(all_results()[key], flat.Pair(_run(key)))["data"][1][1:3] == ["too few images"] * 2
    flat._numbers.cache_clear()


# ---- neighbours

def test_neighbours_of_the_chosen_image_before_and_after(key: str):
    run = _run(key)
    said, gallery, images, *after = around.show(key, run.name, flat.UNTUNED, 2)
    unit = run.array("frozen") / np.linalg.norm(run.array("frozen"), axis=1, keepdims=True)
    order = [i for i in np.argsort(-(unit @ unit[2])) if i != 2]
    assert images == order[:6] and len(gallery) == 5
    alike = int((run.labels[images] == run.labels[2]).sum())
    own = run.classes[run.labels[2]]
    assert said == f"Before tuning (frozen backbone): {alike} of the 5 nearest are “{own}” as image 3 is."
    assert after[0].startswith("After tuning: VPT-deep") and after[1][0][1][0] in "✓✗"
    assert around.choose(images, SimpleNamespace(index=1)) == images[1]
    assert around.show(None, None, flat.UNTUNED, 0)[1] == []
