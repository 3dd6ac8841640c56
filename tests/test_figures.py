"""Charts and sentences of results."""

from __future__ import annotations

import json
from dataclasses import replace

import faked
import numpy as np
import pytest

from app.figures import accuracy_figure, classes_figure, confusion_figure, map_figure, shares_figure
from app.figures.colours import RIGHT, WRONG
from app.figures.scores import MOST_CLASSES
from app.results import Result
from app.verdict import HEADERS, best_two, image_line, labels, number, rows, verdict
from vpt_core.errors import UserError

EVIL = '<img src=x onerror="alert(1)">'


def _right(count: int, total: int = 60, at: int = 0) -> np.ndarray:
    return (np.arange(total) >= at) & (np.arange(total) < at + count)


def test_verdict_names_both_sides_and_the_worth_of_an_image(tmp_path):
    said = verdict(faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50, at=2)}))
    assert "VPT-deep gets 50 of 60 right, Linear probe 20 of 60" in said
    assert "VPT-deep is right and Linear probe wrong 32 times, the other way round twice" in said
    assert "p < 0.001" in said and "VPT-deep is better" in said
    assert "One image is worth 1.7 points" in said


def test_verdict_says_when_the_linear_probe_wins(tmp_path):
    said = verdict(faked.result(tmp_path, {"linear": _right(50), "vpt-deep": _right(20)}))
    assert said.startswith("Linear probe gets 50 of 60 right, VPT-deep 20") and "Linear probe is better" in said


def test_verdict_of_a_small_difference_is_chance(tmp_path):
    said = verdict(faked.result(tmp_path, {"linear": _right(30), "vpt-deep": _right(33)}))
    assert "With 60 test images this difference may be chance" in said and "better" not in said


def test_verdict_of_a_draw(tmp_path):
    said = verdict(faked.result(tmp_path, {"linear": _right(30), "vpt-deep": _right(30, at=5)}))
    assert "neither is better" in said


def test_verdict_of_one_run_and_of_none_tested(tmp_path):
    assert "Tune a second method" in verdict(faked.result(tmp_path / "one", {"vpt-deep": _right(30)}))
    assert "no test images" in verdict(faked.result(tmp_path / "none", {"vpt-deep": _right(0, total=0)}))


def test_the_yardstick_meets_the_best_of_the_others(tmp_path):
    result = faked.result(tmp_path, {"linear": _right(50), "vpt-shallow": _right(40), "vpt-deep": _right(30)})
    assert best_two(result) == (0, 1)


def test_rows_are_texts_under_their_headers(tmp_path):
    table = rows(faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50)}))
    assert table[1] == ["VPT-deep", "50 of 60", "83 %", "72 % to 91 %", "10,000", "1 %", "40 kB", "2.0", "2"]
    assert all(len(row) == len(HEADERS) for row in table)


def test_runs_with_the_same_options_get_different_names(tmp_path):
    first = faked.result(tmp_path, {"vpt-deep": _right(20)}).runs[0]
    other = faked.run(tmp_path / "other", replace(first.spec, epochs=3), first.classes, first.labels, first.labels)
    assert labels(Result("", (first, other))) == ["VPT-deep, Epochs 10", "VPT-deep, Epochs 3"]


def test_a_run_is_found_by_its_folder_name_only(tmp_path):
    result = faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50)})
    assert number(result, "vpt-deep") == 1
    with pytest.raises(UserError, match="Choose one of the list"):
        number(result, "../vpt-deep")


def test_image_line_quotes_every_run(tmp_path):
    line = image_line(faked.result(tmp_path, {"linear": _right(1), "vpt-deep": _right(2)}), 1)
    assert line == "Image 2 of 60 (1.png): true “b”; Linear probe says “c” (91 %), VPT-deep says “b” (91 %)."


def test_accuracy_has_the_interval_of_each_run(tmp_path):
    traces = accuracy_figure(faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50)}))["data"]
    chance, _, deep = traces
    assert chance["y"] == pytest.approx([100 / 3] * 2)
    assert deep["x"] == [10_000] and deep["y"] == pytest.approx([100 * 50 / 60])
    assert deep["y"][0] + deep["error_y"]["array"][0] == pytest.approx(90.7, abs=0.1)
    assert deep["y"][0] - deep["error_y"]["arrayminus"][0] == pytest.approx(72.0, abs=0.1)
    assert "40 kB" in deep["hovertext"] and "10,000 trained parameters" in deep["hovertext"]


def test_charts_without_test_images_are_empty(tmp_path):
    result = faked.result(tmp_path, {"linear": _right(0, total=0)})
    assert accuracy_figure(result) is None and classes_figure(result) is None
    assert confusion_figure(result.runs[0], "x") is None


def test_classes_count_right_ones_of_each_class(tmp_path):
    traces = classes_figure(faked.result(tmp_path, {"linear": _right(3), "vpt-deep": _right(60)}))["data"]
    assert traces[0]["text"] == ["1 of 20"] * 3 and traces[1]["text"] == ["20 of 20"] * 3
    assert traces[0]["marker"]["color"] != traces[1]["marker"]["color"]


def test_of_many_classes_those_that_differ_are_shown(tmp_path):
    classes = tuple(f"class {k}" for k in range(40))
    result = faked.result(tmp_path, {"linear": _right(0, 40), "vpt-deep": _right(1, 40, at=37)}, classes)
    layout = classes_figure(result)["layout"]
    assert "class 37" in layout["yaxis"]["ticktext"] and len(layout["yaxis"]["ticktext"]) == MOST_CLASSES


def test_confusion_cells_are_true_by_predicted(tmp_path):
    run = faked.result(tmp_path, {"linear": _right(30)}).runs[0]
    good, bad, text = confusion_figure(run, "Linear")["data"]
    assert good["z"][0] == [0.5, None, None] and bad["z"][0] == [None, 0.5, None]
    assert "called b: 10 of 20" in bad["hovertext"][0][1]
    assert set(text["text"]) == {"10"}


def test_shares_are_summed_over_prompts(tmp_path):
    low, high, mean = shares_figure([np.array([[0.1, 0.2], [0.3, 0.4]]), np.array([[0.0, 0.0], [0.5, 0.5]])])["data"]
    assert [t["y"][0] for t in (low, mean, high)] == pytest.approx([30, 50, 70])
    assert "heads 30 % to 70 %" in mean["hovertext"][0] and "heads 0 % to 100 %" in mean["hovertext"][1]


def test_without_prompts_there_are_no_shares():
    assert shares_figure([np.empty((2, 0))] * 3) is None


def _map(result, **rest):
    run = result.runs[-1]
    both = np.random.default_rng(0).normal(size=(2, len(run.labels), 2)).astype(np.float32)
    return [map_figure(run, places, both, result, **rest) for places in both]


def _points(value) -> list[dict]:
    return [trace for trace in value["data"] if "customdata" in trace]


def _legend(value) -> list[str]:
    return [trace["name"] for trace in value["data"] if trace.get("showlegend", True)]


def test_maps_share_axes_and_name_every_image_once(tmp_path):
    before, after = _map(faked.result(tmp_path, {"vpt-deep": _right(30)}))
    assert before["layout"]["xaxis"]["range"] == after["layout"]["xaxis"]["range"]
    assert sorted(n for trace in _points(before) for n in trace["customdata"]) == list(range(60))
    assert "thumbs" not in before  # the data set is gone, the map is not


def test_wrong_images_are_crosses(tmp_path):
    value, _ = _map(faked.result(tmp_path, {"vpt-deep": _right(30)}))
    crosses = {n for trace in _points(value) if trace["marker"]["symbol"] == "x" for n in trace["customdata"]}
    assert crosses == set(range(30, 60))


def test_the_legend_names_all_classes_also_those_without_a_right_image(tmp_path):
    result = faked.result(tmp_path, {"vpt-deep": _right(0)})
    assert _legend(_map(result)[0]) == ["a", "b", "c", "wrong"]
    assert _legend(_map(result, by="right")[0]) == ["right", "wrong"]


def test_right_and_wrong_have_their_colours(tmp_path):
    value, _ = _map(faked.result(tmp_path, {"vpt-deep": _right(30)}), by="right")
    assert {(t["marker"]["symbol"], t["marker"]["color"]) for t in _points(value)} == {("circle", RIGHT), ("x", WRONG)}


def test_a_map_can_show_one_class_and_ring_one_image(tmp_path):
    value, _ = _map(faked.result(tmp_path, {"vpt-deep": _right(60)}), only=1, chosen=5)
    opacity = [trace["opacity"] for trace in _points(value)]
    assert opacity[1] > 0.5 > opacity[0] == opacity[2]
    assert value["data"][-1]["marker"]["symbol"] == "circle-open"


def test_more_classes_than_colours_get_other_symbols(tmp_path):
    classes = tuple(f"class {k}" for k in range(20))
    value, _ = _map(faked.result(tmp_path, {"vpt-deep": _right(60)}, classes))
    assert len({(t["marker"]["color"], t["marker"]["symbol"]) for t in _points(value)}) == 20
    assert _legend(value) == ["wrong"]


def test_strangers_words_are_letters_in_all_charts(tmp_path):
    result = faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50)}, (EVIL, "<b>b</b>", "c"))
    values = [accuracy_figure(result), classes_figure(result), confusion_figure(result.runs[0], EVIL), *_map(result)]
    text = json.dumps(values)
    assert "<img" not in text and "<b>b" not in text and "&lt;img" in text
