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
from app.verdict import best_two, image_line, labels, number, table, verdict
from vpt_core.comparison import Comparison
from vpt_core.errors import UserError
from vpt_core.methods import METHODS
from vpt_core.spec import Spec

EVIL = '<img src=x onerror="alert(1)">'


def _right(count: int, total: int = 60, at: int = 0) -> np.ndarray:
    return (np.arange(total) >= at) & (np.arange(total) < at + count)


def _seeds(root, right: dict[str, list[int]], total: int = 60) -> Result:
    """Methods under the seeds 0, 1, ..., given how many test images each gets right."""
    return Result("key", tuple(
        faked.judged(root / f"{method}{seed}", Spec(task="gone", method=method, seed=seed), _right(count, total), 10 ** (3 + m))
        for m, (method, counts) in enumerate(right.items()) for seed, count in enumerate(counts)))


def test_verdict_answers_names_both_sides_and_the_worth_of_an_image(tmp_path):
    said = verdict(faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50, at=2)}))
    assert said.startswith("VPT-deep is the best (50 of 60) and Linear probe") and "prompting is worth it here." in said
    assert "Image by image, VPT-deep is right and Linear probe wrong 32 times, the other way round twice." in said
    assert "p < 0.001" in said and said.endswith("One image is worth 1.7 points.")


def test_verdict_holds_against_the_best_what_may_be_as_good(tmp_path):
    right = {"linear": _right(20), "vpt-shallow": _right(48), "vpt-deep": _right(50)}
    said = verdict(faked.result(tmp_path, right))
    assert "VPT-shallow (48 of 60) learns 10 times fewer" in said and "with 60 test images the difference may be chance" in said
    assert "VPT-deep is right and VPT-shallow wrong twice, the other way round never" in said


def test_verdict_of_several_seeds(tmp_path):
    result = _seeds(tmp_path, {"linear": [20, 22], "vpt-deep": [50, 48]})
    said = verdict(result)
    assert said.startswith("On 60 test images, as the mean of 2 seeds, VPT-deep is the best (81.7 %)")
    assert "more seeds of VPT-deep than of Linear probe are right 30 times, the other way round never" in said
    more = faked.judged(tmp_path / "more", replace(result.runs[0].spec, seed=9), _right(1))
    assert "Left out, since not every method has that seed: Linear probe, seed 9." in verdict(Result("", (*result.runs, more)))


def test_verdict_of_one_run_and_of_none_tested(tmp_path):
    assert "Tune a second method" in verdict(faked.result(tmp_path / "one", {"vpt-deep": _right(30)}))
    assert "no test images" in verdict(faked.result(tmp_path / "none", {"vpt-deep": _right(0, total=0)}))


def test_the_yardstick_meets_the_best_of_the_others(tmp_path):
    result = faked.result(tmp_path, {"linear": _right(50), "vpt-shallow": _right(40), "vpt-deep": _right(30)})
    assert best_two(result) == (0, 1)


def test_the_table_has_texts_under_its_headers(tmp_path):
    made = table(faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50)}))
    row = ["VPT-deep", "50 of 60", "83 %, 72 % to 91 %", "best", "10,000", "1 %", "40 kB", "2.0", "2"]
    assert made["data"][1] == row and made["data"][0][3] == "p < 0.001"
    assert all(len(row) == len(made["headers"]) for row in made["data"])


def test_the_table_of_several_seeds_has_mean_spread_and_number(tmp_path):
    made = table(_seeds(tmp_path, {"linear": [20, 22], "vpt-deep": [50, 45]}))
    assert made["headers"][1:3] == ["seeds, lowest to highest", "mean accuracy, 95 % interval"]
    assert made["data"][1][:4] == ["VPT-deep", "2, 75 % to 83 %", "79 %, 68 % to 87 %", "best"]
    assert all(len(row) == len(made["headers"]) for row in made["data"])


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
    traces = accuracy_figure(faked.result(tmp_path, {"linear": _right(20), "vpt-deep": _right(50)}).comparison)["data"]
    chance, _, deep = traces
    assert chance["y"] == pytest.approx([100 / 3] * 2)
    assert deep["x"] == [10_000] and deep["y"] == pytest.approx([100 * 50 / 60])
    assert deep["y"][0] + deep["error_y"]["array"][0] == pytest.approx(90.7, abs=0.1)
    assert deep["y"][0] - deep["error_y"]["arrayminus"][0] == pytest.approx(72.0, abs=0.1)
    assert "40 kB" in deep["hovertext"] and "10,000 trained parameters" in deep["hovertext"]


def test_accuracy_of_several_seeds_is_their_mean_with_a_dot_each(tmp_path):
    compared = _seeds(tmp_path, {"linear": [20, 22], "vpt-deep": [50, 46]}).comparison
    _, _, _, mean, dots = accuracy_figure(compared)["data"]
    assert mean["y"] == pytest.approx([80]) and dots["y"] == pytest.approx([100 * 50 / 60, 100 * 46 / 60])
    low, high = compared.standings[1].interval
    assert mean["error_y"]["array"] == pytest.approx([100 * high - 80]) and low < 46 / 60
    assert dots["hovertext"][1] == "VPT-deep, seed 1: 46 of 60 right" and dots["showlegend"] is False
    classes = classes_figure(compared)["data"]
    assert classes[1]["text"] == ["33 of 40", "32 of 40", "31 of 40"]


@pytest.fixture
def eleven(tmp_path) -> Comparison:
    """Every method, two seeds each; the one that learns the third fewest numbers is the best."""
    names = ["linear", "mlp", "vpt-deep", *(name for name in METHODS if name not in ("linear", "mlp", "vpt-deep"))]
    right = {name: [20 + i, 22 + i] for i, name in enumerate(names)} | {"vpt-deep": [50, 52]}
    return _seeds(tmp_path, right).comparison


def test_many_methods_get_a_row_each_the_cheapest_on_top(eleven):
    value = accuracy_figure(eleven)
    rows = [trace for trace in value["data"] if "error_x" in trace]
    names = value["layout"]["yaxis"]["ticktext"]
    assert len(rows) == len(names) == 11 and names[0] == "Linear probe<br>1,000" and "VPT-deep" in names[2]
    assert value["layout"]["yaxis"]["range"][0] > value["layout"]["yaxis"]["range"][1]  # row 0 is on top
    filled = [trace["y"] for trace in rows if trace["marker"]["symbol"] == "circle"]
    assert filled == [[2]]  # all others are significantly worse
    assert sorted(trace["name"] for trace in value["data"] if trace.get("showlegend", True)) == [
        "always the same class: 33 %", "with prompts", "without prompts"]
    assert {trace["marker"]["color"] for trace in rows if trace["name"] == "with prompts"} == {RIGHT}


def test_classes_of_many_methods_are_a_table_of_shades(eleven):
    shades, text = classes_figure(eleven)["data"]
    assert np.shape(shades["z"]) == (11, 3) and shades["z"][-1] == pytest.approx([35 / 40, 34 / 40, 33 / 40])
    assert "VPT-deep<br>b: 34 of 40, 95 % interval" in shades["hovertext"][-1][1] and text["text"][-2] == "85"


def test_charts_without_test_images_are_empty(tmp_path):
    result = faked.result(tmp_path, {"linear": _right(0, total=0)})
    assert accuracy_figure(result.comparison) is None and classes_figure(result.comparison) is None
    assert confusion_figure(result.runs[0], "x") is None


def test_classes_count_right_ones_of_each_class(tmp_path):
    traces = classes_figure(faked.result(tmp_path, {"linear": _right(3), "vpt-deep": _right(60)}).comparison)["data"]
    assert traces[0]["text"] == ["1 of 20"] * 3 and traces[1]["text"] == ["20 of 20"] * 3
    assert traces[0]["marker"]["color"] != traces[1]["marker"]["color"]


def test_of_many_classes_those_that_differ_are_shown(tmp_path):
    classes = tuple(f"class {k}" for k in range(40))
    result = faked.result(tmp_path, {"linear": _right(0, 40), "vpt-deep": _right(1, 40, at=37)}, classes)
    layout = classes_figure(result.comparison)["layout"]
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
    text = json.dumps([accuracy_figure(result.comparison), classes_figure(result.comparison),
                       confusion_figure(result.runs[0], EVIL), *_map(result)])  # fmt: skip
    assert "<img" not in text and "<b>b" not in text and "&lt;img" in text
