"""The page's attribution and its trap: what is shown of whom, computed once, with words that hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from faked import on_show
from PIL import Image
from tiny import RANDOM

from app import explained, settings
from app.explained import Wish
from app.results import all_results, cached_task
from app.tabs import attribution, trap
from vpt_core.errors import UserError
from vpt_core.execute import tune
from vpt_core.spec import Spec


@pytest.fixture
def key(two_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    return on_show(two_runs, tmp_path, monkeypatch)


def names(key: str) -> list[str]:
    return [run.name for run in all_results()[key].runs]


def shown(key: str | None, name: str | None, on: bool = True, target: str = "true", method: str = "occlusion",
          grain: str = "patches") -> list[list[object]]:
    return list(attribution.explain(key, name, 1, on, method, target, "mean", grain))


def wish(key: str, which: int = 1, **changes: object) -> Wish:
    result = all_results()[key]
    return replace(Wish(result, result.runs[which], 1, "true", "occlusion", "mean"), **changes)


def test_nothing_is_computed_before_it_is_asked_for(key: str):
    for found in (shown(key, names(key)[1], on=False), shown(None, None), shown(key, None)):
        assert len(found) == 1 and found[0][1] is None and not found[0][-1].interactive
    assert explained._attribution.cache_info().misses == 0


def test_maps_come_first_then_their_test_then_the_prompts(key: str):
    explained._found.clear()
    wait, first, second, last = shown(key, names(key)[1])
    line, files, pair, sums, *_ = first
    assert wait[0].startswith("Explaining image 2") and wait[1] == gr.skip()
    before, after = (np.asarray(Image.open(file)) for file in files)
    assert "Before is the frozen backbone with its own classifier, Linear probe of this result." in line
    assert before.shape == after.shape == (336, 336, 3) and not np.array_equal(before, after)
    assert pair == [(files[0], "before tuning"), (files[1], "after tuning")]
    assert "Before tuning the score is" in sums and first[4] is None and first[5] == attribution._WAIT
    assert second[4]["data"] and "for 5 random orders" in second[5] and not first[6].visible
    assert last[6].visible and last[7]["data"][0]["z"] and "completeness error" in last[8]


def test_what_is_known_is_answered_at_once_and_whole(key: str):
    """Of answers that follow each other at once the browser shows the last: none may leave out what one before had."""
    explained._found.clear()
    *_, last = shown(key, names(key)[1])
    (again,) = shown(key, names(key)[1])
    assert again[1] and again[2] and [again[0], *again[3:6]] == [last[0], *last[3:6]] and again[7] == last[7]
    assert gr.skip() not in again


def test_a_probe_has_the_same_on_both_sides_and_no_prompts(key: str):
    explained._found.clear()
    _, first, *_, last = shown(key, names(key)[0])
    assert "both sides show it" in first[0] and not last[6].visible
    assert len(set(first[1])) == 1  # the same picture has the same file


def test_without_a_probe_the_runs_own_head_stands_in(key: str):
    result = all_results()[key]
    alone = wish(key, result=replace(result, runs=result.runs[1:]))
    assert "under this run's classifier" in explained.before_words(alone)
    old, probes, new = explained.before(alone), explained.before(wish(key)), explained.after(alone)
    assert not np.array_equal(old.map, new.map) and not np.array_equal(old.map, probes.map)


def test_the_class_is_a_choice(key: str):
    one = wish(key)
    said = int(one.run.array("logits")[1].argmax())
    assert one.number == one.run.labels[1]
    assert replace(one, target="predicted").number == said and replace(one, target="2").number == 2
    with pytest.raises(UserError, match="no such class"):
        _ = replace(one, target="3").number
    choice = attribution.offer(key, names(key)[0], "2")
    assert choice.value == "2" and [value for _, value in choice.choices] == ["true", "predicted", "0", "1", "2"]
    assert attribution.offer(None, None, "2").value == "true"


def test_it_is_computed_once_and_taken_away_as_json(key: str):
    def computed() -> np.ndarray:
        return np.array([explained._attribution.cache_info().misses, explained._tested.cache_info().misses])

    start = computed()
    shown(key, names(key)[1])
    assert (computed() - start).tolist() == [2, 1]
    shown(key, names(key)[1], grain="pixels")
    assert (computed() - start).tolist() == [2, 1]
    data = json.loads(explained.file(wish(key)).read_text())
    assert np.allclose(data["after"]["patches"], explained.after(wish(key)).patches, rtol=1e-3, atol=1e-4)
    assert data["class"] in "abc" and len(data["deletion_insertion_after"]["random_deletion"]) == 5


def test_without_the_data_set_a_sentence_stands_there(key: str, monkeypatch: pytest.MonkeyPatch):
    cached_task.cache_clear()

    def refuse(source: str) -> None:
        raise UserError("There is no task 'x'.")

    monkeypatch.setattr("app.results.load_task", refuse)
    *_, only = shown(key, names(key)[1])
    assert "cannot be shown. The images of this result are not on this computer" in only[0] and only[1] is None


# ---- the trap

@pytest.fixture(scope="module")
def trapped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a linear probe on the trap."""
    root = tmp_path_factory.mktemp("trap")
    tune(Spec(task="trap", backbone=RANDOM, method="linear", image_size=32, shots=8, epochs=30, lr=1e-2), root)
    return root


def test_the_trap_is_sprung_where_there_is_one(key: str, trapped: Path, monkeypatch: pytest.MonkeyPatch):
    assert not trap.offer(key)[0].visible and not trap.offer(None)[0].visible
    monkeypatch.setattr(settings, "RUNS", trapped)
    trapped_key = next(iter(all_results()))
    assert trap.offer(trapped_key)[0].visible
    (waiting, none), (said, chart) = trap.show(trapped_key)
    assert "Testing Linear probe" in waiting and none is None
    assert said.startswith("Linear probe: Right: ") and "with swapped stamps" in said
    assert chart["data"][0]["y"] == ["with the stamps", "without stamps", "with swapped stamps"]


def test_the_share_of_the_map_on_the_stamp_is_told(trapped: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(settings, "RUNS", trapped)
    result = next(iter(all_results().values()))
    said = explained.sums(Wish(result, result.runs[0], 0, "true", "occlusion", "mean"))
    assert "before and" in said and "lie on the stamp in the corner, which is 2 % of the picture" in said
