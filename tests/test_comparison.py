"""Methods side by side: which runs may be compared, what follows from them, and the sentence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import faked
import numpy as np
import pytest

import vpt_core
from vpt_core.comparison import Comparison, compare, shared
from vpt_core.errors import UserError
from vpt_core.runs import Run, write_json
from vpt_core.spec import Spec
from vpt_core.standing import but_seed, labels

COSTS = {"linear": 1_000, "vpt-shallow": 2_000, "vpt-deep": 24_000, "full": 9_000_000}
BASE = Spec(task="gone")


@pytest.fixture
def made(tmp_path: Path):
    """Makes runs of a method, one a seed, given how many of `total` test images each seed gets right, from image `at` on."""

    def make(method: str, *right: int, total: int = 200, at: int = 0, first: int = 0, cost: int = 0, **rest) -> list[Run]:
        spec = replace(BASE, method=method, **rest)
        images = np.arange(total)
        made_before = len(list(tmp_path.iterdir()))
        return [
            faked.judged(tmp_path / f"{method}-{made_before + s}", replace(spec, seed=first + s),
                         (images >= at) & (images < at + k), cost or COSTS[method])
            for s, k in enumerate(right)
        ]  # fmt: skip

    return make


@pytest.fixture(autouse=True)
def another_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """A costly method without prompts, for the tests' sake."""
    linear = vpt_core.METHODS["linear"]
    full = type("Everything", (linear,), {"name": "full", "title": "Full"})
    monkeypatch.setitem(vpt_core.METHODS, "full", full)


def _sentence(*groups: list[Run]) -> str:
    return compare([run for group in groups for run in group]).sentence


def _p(comparison: Comparison, method: str) -> float:
    return next(p for s, p in zip(comparison.standings, comparison.p_values, strict=True) if s.method == method)


# ---- what follows from the runs

def test_best_cheapest_costs_and_order(made):
    runs = [*made("vpt-deep", 180), *made("vpt-shallow", 178), *made("linear", 120)]
    result = compare(runs)
    assert [s.method for s in result.standings] == ["linear", "vpt-shallow", "vpt-deep"]
    assert (result.best, result.cheapest, result.left_out) == (2, 1, ())
    shallow = result.standings[1]
    assert (shallow.trained, shallow.file_bytes, shallow.seconds, shallow.label) == (2_000, 8_000, 2.0, "VPT-shallow")
    assert shallow.score.accuracy == 0.89 and shallow.interval == pytest.approx(runs[1].test.interval)


def test_p_values_are_corrected_for_the_number_of_methods(made):
    linear, deep = made("linear", 93), made("vpt-deep", 100)
    alone = compare([*linear, *deep])
    assert _p(alone, "linear") == pytest.approx(2 / 2**7) and _p(alone, "vpt-deep") == 1.0
    assert alone.cheapest == alone.best  # significantly worse
    third = compare([*linear, *deep, *made("full", 93)])
    assert _p(third, "linear") == _p(third, "full") == pytest.approx(4 / 2**7)


def test_of_equal_methods_the_cheaper_one_is_the_best(made):
    result = compare([*made("linear", 90), *made("vpt-deep", 90)])
    assert result.best == result.cheapest == 0


def test_seeds_are_averaged_and_images_stay_the_unit(made):
    result = compare([*made("linear", 90, 96, 90), *made("vpt-deep", 100, 100, 100)])
    linear, deep = result.standings
    assert linear.seeds == [0, 1, 2] and linear.score.accuracy == pytest.approx(0.46)
    assert linear.words == "46.0 %" and linear.images["92.png"] == (1, 3)
    assert _p(result, "linear") == pytest.approx(2 / 2**10)  # ten images, not thirty


def test_images_are_matched_by_name_where_seeds_test_others(tmp_path):
    names = [[f"{i}.png" for i in range(s, s + 20)] for s in (0, 5)]
    runs = [faked.judged(tmp_path / f"{m}{s}", replace(BASE, method=m, seed=s), np.arange(20) < k, COSTS[m], names[s])
            for s in (0, 1) for m, k in (("linear", 10), ("vpt-deep", 20))]  # fmt: skip
    result = compare(runs)
    assert len(result.standings[0].images) == 25 and result.standings[1].images["7.png"] == (2, 2)
    assert _p(result, "linear") == pytest.approx(2 / 2**15)  # images 10 to 24: five of them under both seeds
    assert "On 25 test images" in result.sentence


def test_the_same_is_asked_with_and_without_default_options():
    deep = replace(BASE, method="vpt-deep", options={"prompts": 10})
    assert but_seed(deep) == but_seed(replace(BASE, method="vpt-deep", seed=3))
    assert but_seed(deep) != but_seed(replace(deep, options={"prompts": 9}))


def test_rows_of_one_method_have_different_names():
    few = {"options": {"prompts": 5}}
    specs = [BASE, replace(BASE, seed=1), replace(BASE, epochs=3), replace(BASE, **few), replace(BASE, method="linear")]
    assert labels(specs) == ["VPT-deep, Epochs 10", "VPT-deep, Epochs 10", "VPT-deep, Epochs 3",
                             "VPT-deep (Prompt tokens 5)", "Linear probe"]  # fmt: skip


def test_methods_are_compared_over_the_seeds_that_most_have(made):
    result = compare([*made("linear", 90, 91, 92), *made("vpt-deep", 100, 100), *made("full", 95, first=7)])
    assert [s.seeds for s in result.standings] == [[0, 1], [0, 1]] == [result.seeds] * 2
    assert set(result.left_out) == {"Linear probe, seed 2", "Full, seed 7"}


@pytest.mark.parametrize(
    ("seeds", "chosen"),
    [
        ({"a": {0}}, (["a"], [0])),
        ({"a": {0, 1, 2}, "b": {0}}, (["a", "b"], [0])),
        ({"a": {0, 1, 2}, "b": {0, 1}, "c": {5}}, (["a", "b"], [0, 1])),
        ({"a": {0, 1}, "b": {0}, "c": {1}}, (["a", "b"], [0])),
        ({"a": {3}, "b": {1, 2}}, (["b"], [1, 2])),
    ],
)
def test_shared_seeds(seeds, chosen):
    assert shared(seeds) == chosen


def test_as_json_and_as_text(made):
    result = compare([*made("linear", 90, 96), *made("vpt-deep", 180, 184), *made("full", 1, first=4)])
    data = json.loads(json.dumps(result.to_json()))
    assert (data["images"], data["seeds"], data["best"], data["cheapest"]) == (200, [0, 1], "VPT-deep", "VPT-deep")
    assert data["sentence"] == result.sentence and data["left_out"] == ["Full, seed 4"]
    first = data["methods"][0]
    assert first["scores"] == [{"correct": 90, "total": 200}, {"correct": 96, "total": 200}] and first["p_value"] < 1e-9
    lines = result.text().splitlines()
    assert lines[1].split()[:5] == ["Linear", "probe", "46.5", "%", "39.8"] and "p < 0.001" in lines[1] and "best" in lines[2]
    assert lines[3] == result.sentence and "Full, seed 4" in lines[4]


# ---- what cannot be compared

def test_nothing_twins_and_unfinished_runs_are_refused(made):
    (run,) = made("linear", 90)
    with pytest.raises(UserError, match="no finished run to compare"):
        compare([])
    with pytest.raises(UserError, match="runs of one spec and seed"):
        compare([run, *made("linear", 90)])
    write_json(run.folder / "status.json", run.status | {"state": "failed"})
    with pytest.raises(UserError, match=r"has not finished \(failed\)"):
        compare([run])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"image_size": 224}, "Image size is 112 in one and 224 in the other"),
        ({"shots": 4}, "Images a class is 0 in one and 4 in the other"),
        ({"backbone": "test_vit:random"}, "Backbone is 'vit-s14-saliency' in one and 'test_vit:random'"),
    ],
)
def test_runs_of_another_question_are_refused(made, change, said):
    with pytest.raises(UserError, match=said.replace("(", r"\(")):
        compare([*made("linear", 90), *made("vpt-deep", 90, **change)])


def test_runs_on_other_images_are_refused(made, tmp_path):
    linear, deep = made("linear", 90), made("vpt-deep", 90)
    write_json(deep[0].folder / "status.json", deep[0].status | {"task_fingerprint": "0" * 64})
    with pytest.raises(UserError, match="the images of 'gone' and 'gone' are not the same"):
        compare([*linear, *deep])
    with pytest.raises(UserError, match="were not tested on the same images"):
        compare([*linear, *made("full", 90, total=201)])


# ---- the sentence

def test_prompts_are_the_best_by_far(made):
    said = _sentence(made("linear", 90), made("vpt-deep", 180))
    assert said == ("VPT-deep is the best (180 of 200) and Linear probe, which learns fewer numbers, is worse (p < 0.001): "
                    "prompting is worth it here.")  # fmt: skip
    said = _sentence(made("linear", 90), made("vpt-shallow", 172), made("vpt-deep", 180), made("full", 170))
    assert "every method that learns fewer numbers is worse (p = 0.008 or less): prompting is worth it here." in said


def test_prompts_are_the_best_but_that_may_be_chance(made):
    assert _sentence(made("linear", 40, total=71), made("vpt-deep", 42, at=0, total=71)) == (
        "VPT-deep is the best (42 of 71), but Linear probe (40 of 71) learns 24 times fewer numbers and is not shown to be "
        "worse (p = 0.50; with 71 test images the difference may be chance): prompting is not shown to be worth it here."
    )


def test_a_costly_method_is_the_best_and_prompts_are_not_shown_to_be_worse(made):
    said = _sentence(made("linear", 90), made("vpt-deep", 178), made("full", 180))
    assert said.startswith("Full is the best (180 of 200), but VPT-deep (178 of 200) learns 375 times fewer numbers")
    assert said.endswith(": prompting is worth it here.")


def test_without_a_cheaper_yardstick_the_answer_says_among_what(made):
    assert _sentence(made("vpt-deep", 178), made("full", 180)).endswith(": among these methods prompting is worth it here.")


def test_a_method_without_prompts_is_the_best(made):
    said = _sentence(made("linear", 180), made("vpt-deep", 90))
    assert said == ("Linear probe is the best (180 of 200) and learns the fewest numbers; VPT-deep (90 of 200) is worse "
                    "(p < 0.001), so prompting is not worth it here.")  # fmt: skip
    said = _sentence(made("linear", 20), made("vpt-deep", 90), made("full", 180))
    assert said.endswith("; with prompts the best is VPT-deep (90 of 200), so prompting is not worth it here.")
    said = _sentence(made("linear", 180), made("vpt-deep", 179))
    assert said.endswith("; VPT-deep (179 of 200) learns more numbers and is no better: prompting is not worth it here.")
    assert "worse" not in said


def test_a_tie_is_no_case_for_prompts(made):
    said = _sentence(made("linear", 90), made("vpt-deep", 90, at=30))
    assert said.startswith("Linear probe is the best (90 of 200) and learns the fewest") and "is no better" in said


def test_prompts_between_two_methods_that_are_not_told_apart(made):
    said = _sentence(made("linear", 176), made("vpt-deep", 178), made("full", 180))
    assert "Full is the best (180 of 200), but Linear probe (176 of 200) learns 9,000 times fewer numbers" in said
    assert said.endswith("VPT-deep (178 of 200) learns more numbers than that: prompting is not shown to be worth it here.")


def test_what_is_missing_leaves_it_open(made):
    assert _sentence(made("vpt-deep", 178)) == (
        "VPT-deep gets 178 of 200 test images right; it stands alone, so whether prompting is worth it here is open.")
    assert "no method with prompts was compared, so whether" in _sentence(made("linear", 90), made("full", 180))
    assert "no method without prompts was compared, so whether" in _sentence(made("vpt-shallow", 90), made("vpt-deep", 180))
    assert _sentence(made("linear", 0, total=0), made("vpt-deep", 0, total=0)).startswith("There are no test images")


def test_several_seeds_are_said_first(made):
    said = _sentence(made("linear", 90, 92), made("vpt-deep", 180, 184))
    assert said.startswith("On 200 test images, as the mean of 2 seeds, VPT-deep is the best (91.0 %) and Linear probe")
    assert _sentence(made("vpt-deep", 90, 92)).startswith(
        "On 200 test images, as the mean of 2 seeds, VPT-deep gets 45.5 % right; it stands alone")
