"""What is swept becomes what is searched, and what is drawn can be given on a command line."""

import math

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from facelab.errors import ConfigError
from facelab.sweep.space import Choice, Dimension, Interval, Range, read_space

PARSER = OverridesParser.create()


def dimension(text: str) -> Dimension:
    (one,) = read_space(PARSER.parse_overrides([f"key={text}"])).values()
    return one


def read(text: str) -> object:
    return PARSER.parse_override(f"key={text}").value()


@pytest.mark.parametrize(
    ("text", "expected", "shown"),
    [
        ("interval(1e-4,1e-2)", FloatDistribution(1e-4, 1e-2, log=True), "0.0001 to 0.01, logarithmic"),
        ("interval(1,99)", FloatDistribution(1, 99), "1.0 to 99.0"),
        ("interval(1,100)", FloatDistribution(1, 100, log=True), "1.0 to 100.0, logarithmic"),
        ("interval(0,1000)", FloatDistribution(0, 1000), "0.0 to 1000.0"),
        ("interval(-1,1)", FloatDistribution(-1, 1), "-1.0 to 1.0"),
        ("tag(log,interval(1,3))", FloatDistribution(1, 3, log=True), "1.0 to 3.0, logarithmic"),
        ("tag(linear,interval(1,300))", FloatDistribution(1, 300), "1.0 to 300.0"),
        ("int(interval(1,8))", IntDistribution(1, 8), "1 to 8, whole numbers"),
        ("int(interval(2,512))", IntDistribution(2, 512, log=True), "2 to 512, whole numbers, logarithmic"),
        ("tag(linear,int(interval(2,512)))", IntDistribution(2, 512), "2 to 512, whole numbers"),
        ("int(tag(log,interval(2,16)))", IntDistribution(2, 16, log=True), "2 to 16, whole numbers, logarithmic"),
        ("range(16,65,16)", IntDistribution(0, 3), "4 values from 16 to 64, equally spaced"),
        ("range(0,1,0.25)", IntDistribution(0, 3), "4 values from 0.0 to 0.75, equally spaced"),
        ("range(1)", CategoricalDistribution(("0",)), "0"),
        ("cnn,gan", CategoricalDistribution(("cnn", "gan")), "cnn, gan"),
        ("choice(1,2,1)", CategoricalDistribution(("1", "2")), "1, 2"),
        ("shuffle(1,2,3,4,5,6)", CategoricalDistribution(("1", "2", "3", "4", "5", "6")), "1, 2, 3, 4, 5, 6"),
    ],
)
def test_what_is_swept_is_what_is_searched(text: str, expected: object, shown: str) -> None:
    assert dimension(text).distribution == expected
    assert dimension(text).text == shown


def test_keys_come_without_their_plus_and_in_order() -> None:
    space = read_space(PARSER.parse_overrides(["b=1,2", "+a.c=interval(0,1)", "model@x=cnn,gan"]))
    assert list(space) == ["b", "a.c", "model@x"]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2.5, 1e-5, True, False, None],
        [
            "cnn",
            "b, c",
            "a=b",
            "it's",
            'say "so"',
            "back\\slash",
            "end\\",
            "",
            " ",
            "1",
            "true",
            "null",
            "(x)",
            "${seed}",
        ],
        [[1, 2], [], ["p,q", "r"], [[1], [2, "3"]]],
        [{"a": 1}, {"a": ["b,c"]}],
    ],
)
def test_choices_survive_the_command_line(values: list[object]) -> None:
    quoted = [_quoted(value) for value in values]
    choices = dimension(",".join(quoted))
    assert isinstance(choices, Choice)
    assert [read(choices.override(text)) for text in choices.texts] == values


def _quoted(value: object) -> str:
    if isinstance(value, str):
        escaped = value.replace("'", "\\'")
        return "'end\\\\'" if value == "end\\" else f"'{escaped}'"
    if isinstance(value, list):
        return f"[{','.join(map(_quoted, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_quoted(item)}" for key, item in value.items()) + "}"
    return "null" if value is None else str(value)


def test_numbers_cast_to_text_stay_text() -> None:
    choices = dimension("str(1,2)")
    assert isinstance(choices, Choice)
    assert [read(text) for text in choices.texts] == ["1", "2"]


@given(st.floats(1e-12, 1e12), st.floats(1.001, 1e6), st.floats(0, 1))
def test_drawn_numbers_lie_within_and_survive_the_command_line(low: float, factor: float, share: float) -> None:
    interval = Interval(low, low * factor, logarithmic=True, whole=False)
    drawn = min(max(low * factor**share, interval.low), interval.high)
    value = read(interval.override(drawn))
    assert isinstance(value, float)
    assert interval.low <= value <= interval.high
    assert math.isclose(value, drawn, rel_tol=5e-6)


def test_drawn_numbers_are_short() -> None:
    assert Interval(0, 1, False, False).override(1 / 3) == "0.333333"
    assert Interval(1, 9, False, False).override(5.0) == "5.0"
    assert Interval(1e-6, 1, True, False).override(1e-5) == "1e-05"
    assert Interval(1, 9, False, True).override(5) == "5"


def test_numbers_of_a_range_are_those_a_plain_sweep_has() -> None:
    axis = PARSER.parse_override("key=range(0,1,0.1)")
    spaced = dimension("range(0,1,0.1)")
    assert isinstance(spaced, Range)
    assert [spaced.override(place) for place in range(len(spaced.texts))] == list(axis.sweep_string_iterator())
    assert dimension("shuffle(range(0,1,0.1))") == spaced


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("key=interval(2,1)", "low below high, got 2 and 1"),
        ("key=interval(1,1)", "low below high"),
        ("key=int(interval(0.1,0.9))", "low below high"),
        ("key=interval(1,inf)", "finite"),
        ("key=interval(nan,1)", "finite"),
        ("key=tag(log,interval(0,1))", "must begin above 0, got 0"),
        ("key=tag(log,interval(-1,1))", "must begin above 0, got -1"),
        ("key=tag(log,linear,interval(1,2))", "not both"),
        ("key=tag(lgo,interval(1,2))", "unknown tag 'lgo'"),
        ("key=tag(log,range(1,9))", r"tag\(log\) has no effect"),
        ("key=range(5,1)", "this axis is empty"),
        ("key=range(1,5,0)", "range"),
        ("key=range(1,5.5,0)", "range"),
        ("seed=1,2,3", "a search has no replicates"),
        ("split.seed=range(10)", "a search has no replicates"),
        ("split.fold=choice(0,1)", "a search has no replicates"),
    ],
)
def test_what_cannot_be_searched_is_refused(override: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        read_space(PARSER.parse_overrides([override]))
    assert override in str(caught.value)
