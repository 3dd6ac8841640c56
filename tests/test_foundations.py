"""Foundations: tables, options, specs and scores."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, dataclass, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import vpt_core
from vpt_core.errors import UserError
from vpt_core.metrics import Score, confusion, score, softmax
from vpt_core.options import check, flag, option, options_of
from vpt_core.spec import Spec
from vpt_core.table import Table

COLOURS = Table("colour", {"red": 1, "green": 2, "blue": 3})


def test_a_table_is_a_dict_whose_missing_key_answers_with_the_choices():
    assert COLOURS["red"] == 1 and list(COLOURS) == ["red", "green", "blue"]
    with pytest.raises(UserError, match=r"There is no colour 'gren'. Did you mean 'green'\? Choose one of: red, green, blue\."):
        COLOURS["gren"]
    with pytest.raises(UserError, match=r"There is no colour 'xyz'\. Choose one of: red, green, blue\."):
        COLOURS["xyz"]
    assert "xyz" not in COLOURS and COLOURS.get("xyz") is None and len(COLOURS) == 3


@dataclass(frozen=True)
class Oven:
    """All the kinds of options there are."""

    heat: float = option(180.0, "Heat", "degrees", low=0.0, high=250.0)
    trays: int = option(1, "Trays", "how many", low=1)
    depth: int = option(5, "Depth", "centimetres", high=40)
    fan: bool = option(False, "Fan", "hot air", advanced=True)
    mode: str = option("top", "Mode", "which elements", choices=("top", "bottom"))
    note: str = "not an option"

    def __post_init__(self) -> None:
        check(self)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"heat": 300.0}, "Heat is 300.0; it has to be from 0.0 to 250.0."),
        ({"heat": -1}, "Heat is -1.0; it has to be from 0.0 to 250.0."),
        ({"heat": float("nan")}, "Heat is nan; it has to be a finite number."),
        ({"heat": float("inf")}, "Heat is inf; it has to be a finite number."),
        ({"heat": 10**400}, "Heat is inf; it has to be a finite number."),
        ({"heat": True}, "Heat is True; it has to be a number."),
        ({"heat": "180"}, "Heat is '180'; it has to be a number."),
        ({"heat": None}, "Heat is None; it has to be a number."),
        ({"trays": 0}, "Trays is 0; it has to be at least 1."),
        ({"trays": 1.0}, "Trays is 1.0; it has to be a whole number."),
        ({"trays": True}, "Trays is True; it has to be a whole number."),
        ({"depth": 41}, "Depth is 41; it has to be at most 40."),
        ({"fan": 1}, "Fan is 1; it has to be true or false."),
        ({"mode": "grill"}, "Mode is 'grill'; choose one of: top, bottom."),
        ({"mode": ["top"]}, "Mode is ['top']; it has to be a text."),
    ],
)
def test_a_bad_value_is_refused_in_a_sentence(values, words):
    with pytest.raises(UserError) as error:
        Oven(**values)
    assert str(error.value) == words


def test_good_values_pass_and_a_whole_number_serves_as_a_float():
    assert Oven() == Oven(180.0, 1, 5, False, "top")
    assert Oven(heat=200).heat == 200.0 and type(Oven(heat=200).heat) is float
    assert Oven(heat=250, trays=10**6, depth=-3, fan=True, mode="bottom").trays == 10**6


def test_options_are_described_once():
    described = options_of(Oven)
    assert list(described) == ["heat", "trays", "depth", "fan", "mode"] and options_of(Oven()) == described
    opt, default = described["fan"]
    assert (opt.label, opt.help, opt.advanced, default) == ("Fan", "hot air", True, False)
    assert flag("batch_size") == "--batch-size"


def test_every_option_of_a_spec_accepts_its_own_bounds_and_nothing_beyond():
    for name, (opt, default) in options_of(Spec).items():
        assert opt.label and opt.help and type(default) in (int, float, str)
        for bound, beyond in ((opt.low, -1), (opt.high, 1)):
            if bound is not None:
                assert getattr(Spec(**{name: type(default)(bound)}), name) == bound
                with pytest.raises(UserError, match=opt.label):
                    Spec(**{name: type(default)(bound + beyond * max(1, abs(bound)))})


values = {
    "lr": st.floats(1e-7, 100.0),
    "epochs": st.integers(1, 1000),
    "seed": st.integers(0, 2**31 - 1),
    "task": st.text(),
    "options": st.dictionaries(st.text(), st.integers() | st.floats(allow_nan=False) | st.text()),
}


@given(st.fixed_dictionaries({}, optional=values))
def test_a_spec_is_the_same_as_its_json(given_values):
    spec = Spec(**given_values)
    assert Spec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    assert set(spec.to_json()) == {f.name for f in fields(Spec)}


@pytest.mark.parametrize(
    "data", [[], None, "spec", 3, {"colour": "red"}, {"options": []}, {"lr": "fast"}, {"epochs": 0}, {"task": 1}]
)
def test_what_is_not_a_spec_is_refused(data):
    with pytest.raises(UserError):
        Spec.from_json(data)


def test_a_spec_is_frozen():
    with pytest.raises(FrozenInstanceError):
        Spec().lr = 1.0


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),  # those of 263, 148 and 29: Newcombe 1998, table I
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718),
     (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (5, 10, 0.2366, 0.7634)],
)
def test_wilsons_interval(correct, total, low, high):
    assert Score(correct, total).interval == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 5000), st.data())
def test_the_interval_holds_the_accuracy_and_stays_within_0_and_1(total, data):
    s = Score(data.draw(st.integers(0, total)), total)
    low, high = s.interval
    assert 0 <= low < high <= 1
    assert low - 1e-12 <= s.accuracy <= high + 1e-12


def test_scores_in_words_and_without_images():
    assert str(Score(9, 12)) == "9 of 12 (75%, 95 % interval 47% to 91%)"
    assert Score(0, 0).interval == (0.0, 1.0) and np.isnan(Score(0, 0).accuracy)
    assert str(Score(0, 0)) == "no images to test on"


def test_counting():
    labels, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 0, 1, 1, 0])
    assert confusion(predicted, labels, 4).tolist() == [[2, 1, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert score(predicted, labels) == Score(3, 5)


def test_softmax_of_large_numbers():
    shares = softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0], [np.log(3), 0.0]]))
    assert shares == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.0], [0.75, 0.25]]))


@pytest.mark.parametrize("name", vpt_core.__all__)
def test_public_names_resolve_and_say_what_they_are(name):
    thing = getattr(vpt_core, name)
    assert (thing.__doc__ or "").strip()
    assert f" {name}" in vpt_core.__doc__.replace(",", " ")


def test_other_names_do_not_resolve():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        vpt_core.nonsense  # noqa: B018
