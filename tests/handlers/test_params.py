"""Every wrong parameter is refused by name, with what was found and what is wanted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from export.graphs.latent_image import PARAMS
from handlers.params import MAX_SEED, ParamSpec, check_all, draw_seed
from handlers.refusals import Refusal


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"seed": "7"}, "seed", 'seed is "7", wanted an integer from 0 to 9007199254740991'),
        ({"seed": True}, "seed", "seed is a boolean (true), wanted an integer"),
        ({"seed": 1.5}, "seed", "seed is 1.5, wanted an integer"),
        ({"seed": 1e300}, "seed", "seed is 1000000000"),
        ({"seed": 9007199254740993.0}, "seed", "seed is 9007199254740992, wanted an integer"),
        ({"seed": float("-inf")}, "seed", "seed is -inf, wanted an integer"),
        ({"n": False}, "n", "n is a boolean (false), wanted an integer from 1 to 16"),
        ({"seed": float("nan")}, "seed", "seed is nan, wanted an integer"),
        ({"seed": -1}, "seed", "seed is -1, wanted an integer from 0"),
        ({"seed": 2**53}, "seed", "seed is 9007199254740992, wanted an integer"),
        ({"seed": 10**400}, "seed", "seed is 1000000000"),
        ({"n": 0}, "n", "n is 0, wanted an integer from 1 to 16"),
        ({"n": 17}, "n", "n is 17, wanted an integer from 1 to 16"),
        ({"n": [1]}, "n", "n is a list, wanted an integer"),
        ({"truncation": "1"}, "truncation", 'truncation is "1", wanted a number from 0 to 1'),
        ({"truncation": float("inf")}, "truncation", "truncation is inf, wanted a number from 0 to 1"),
        ({"truncation": float("nan")}, "truncation", "truncation is nan, wanted a number"),
        ({"truncation": 1.5}, "truncation", "truncation is 1.5, wanted a number from 0 to 1"),
        ({"truncation": False}, "truncation", "truncation is a boolean (false), wanted a number"),
        ({"format": "gif"}, "format", 'format is "gif", wanted one of png, jpeg, webp'),
        ({"format": 3}, "format", "format is 3, wanted one of png, jpeg, webp"),
        ({"quality": 0}, "quality", "quality is 0, wanted an integer from 1 to 100"),
        ({"grid": 1}, "grid", "grid is 1, wanted true or false"),
        ({"grid": {}}, "grid", "grid is an object, wanted true or false"),
        ({"format": "JPGX"}, "format", 'format is "JPGX", wanted one of png, jpeg, webp'),
        ({"sed": 1}, "sed", 'unknown field "sed"; known fields: seed, n, truncation, format, quality, grid'),
        ([1], None, "the body is a list, wanted a JSON object with any of: seed, n"),
        (7, None, "the body is 7, wanted a JSON object"),
        (None, None, "the body is null, wanted a JSON object"),
    ],
)
def test_refusals(params: Any, field: str | None, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_all(params, PARAMS)
    assert caught.value.field == field
    assert caught.value.message.startswith(message)
    assert caught.value.status == 400


def test_defaults_and_null() -> None:
    wanted = {"seed": None, "n": 1, "truncation": 1.0, "format": "png", "quality": None, "grid": False}
    assert check_all({}, PARAMS) == wanted
    assert check_all(dict.fromkeys(wanted), PARAMS) == wanted  # null means the default


def test_good_values_come_back_as_they_are() -> None:
    params = {"seed": MAX_SEED, "n": 16, "truncation": 0, "format": "webp", "quality": 100, "grid": True}
    checked = check_all(params, PARAMS)
    assert checked == params
    assert isinstance(checked["truncation"], float)


@given(st.dictionaries(st.text(max_size=80), st.from_type(type) | st.integers() | st.text() | st.floats(), max_size=4))
def test_anything_else_is_refused_printably(params: dict[str, Any]) -> None:
    assume(not set(params) <= {spec.name for spec in PARAMS})
    with pytest.raises(Refusal) as caught:
        check_all(params, PARAMS)
    assert len(caught.value.message) < 300
    assert caught.value.message.isprintable()
    assert caught.value.field is not None
    assert caught.value.field.isprintable()


def test_drawn_seeds_are_in_range_and_differ() -> None:
    drawn = {draw_seed() for _ in range(50)}
    assert len(drawn) == 50
    assert all(0 <= seed <= MAX_SEED for seed in drawn)


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="parameter x has type 'complex', wanted one of integer"):
        ParamSpec("x", "complex", "")


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("strings", ["a", 1], "x is a list, wanted a string or a list of strings"),
        ("strings", 1, "x is 1, wanted a string or a list of strings"),
        ("messages", [], "x is a list, wanted a list of objects with role and content"),
        ("messages", ["a"], "x is a list, wanted a list of objects with role and content"),
        ("messages", {"role": "user"}, "x is an object, wanted a list of objects with role and content"),
    ],
)
def test_lists_are_checked_item_by_item(kind: str, value: Any, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        ParamSpec("x", kind, "").check(value)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("string", "a\ud800"),
        ("strings", "\udfff"),
        ("strings", ["a", "\udfff"]),
        ("messages", [{"role": "user", "content": "\ud83d"}]),
        ("messages", [{}, {"role": "\ud83d"}]),
    ],
)
def test_half_a_surrogate_pair_is_refused_in_every_string(kind: str, value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        ParamSpec("x", kind, "").check(value)
    message = "x holds half of a surrogate pair, which is no text; send whole characters"
    assert (caught.value.status, caught.value.field, caught.value.message) == (400, "x", message)


@pytest.mark.parametrize(
    ("kind", "value"), [("strings", "a"), ("strings", ["a", "b"]), ("strings", []), ("messages", [{}])]
)
def test_lists_that_are_right_come_back_as_they_are(kind: str, value: Any) -> None:
    assert ParamSpec("x", kind, "").check(value) == value


@pytest.mark.parametrize("value", [7, 7.0])
def test_json_has_one_type_of_number(value: float) -> None:
    checked = check_all({"seed": value, "n": value, "quality": value, "truncation": value / 7}, PARAMS)
    assert {name: checked[name] for name in ("seed", "n", "quality")} == {"seed": 7, "n": 7, "quality": 7}
    assert [type(checked[name]) for name in ("seed", "n", "quality", "truncation")] == [int, int, int, float]


def test_the_largest_and_smallest_integers_may_be_written_as_floats() -> None:
    assert check_all({"seed": 9007199254740991.0}, PARAMS)["seed"] == MAX_SEED
    assert str(check_all({"seed": -0.0}, PARAMS)["seed"]) == "0"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("PNG", "png"), ("Jpeg", "jpeg"), ("jpg", "jpeg"), ("JPG", "jpeg"), ("WebP", "webp"), ("jpeg", "jpeg")],
)
def test_a_format_may_be_written_as_people_write_it(written: str, meant: str) -> None:
    assert check_all({"format": written}, PARAMS)["format"] == meant


@pytest.mark.parametrize(
    ("params", "hint"),
    [
        ({"seed": "7"}, "write 7 without quotes"),
        ({"n": " 16 "}, "write 16 without quotes"),
        ({"truncation": "0.5"}, "write 0.5 without quotes"),
        ({"truncation": "5e-1"}, "write 5e-1 without quotes"),
        ({"grid": "True"}, "write true without quotes"),
    ],
)
def test_what_only_wants_its_quotes_taken_off_is_told_so(params: dict[str, Any], hint: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_all(params, PARAMS)
    assert caught.value.message.endswith(f"; {hint}")


@pytest.mark.parametrize("params", [{"seed": "seven"}, {"seed": ""}, {"n": "1.5"}, {"grid": 1}, {"truncation": "NaN"}])
def test_what_is_wrong_in_another_way_gets_no_such_hint(params: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        check_all(params, PARAMS)
    assert "quotes" not in caught.value.message


def test_long_values_are_never_rendered_whole() -> None:
    """Half a megabyte where a number or a name is wanted costs what sixty characters cost."""

    class Costly(str):
        def isprintable(self) -> bool:
            raise AssertionError("looked at as a whole")

        def __str__(self) -> str:
            raise AssertionError("copied as a whole")

        def __format__(self, spec: str) -> str:
            raise AssertionError("copied as a whole")

    long = Costly("x" * 2**19)
    for params in ({"seed": long}, {"format": long}, {"grid": long}):
        with pytest.raises(Refusal) as caught:
            check_all(params, PARAMS)
        assert len(caught.value.message) < 200


def test_a_list_of_too_many_values_is_refused_before_they_are_looked_at() -> None:
    class Untouched(list[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("looked at")

    for kind in ("strings", "messages"):
        with pytest.raises(Refusal) as caught:
            ParamSpec("x", kind, "").check(Untouched([""] * 1001))
        assert caught.value.message.startswith("x is a list of 1001 values, wanted a ")
        assert caught.value.message.endswith(", at most 1000")


def test_half_a_surrogate_pair_is_found_however_deep_it_lies() -> None:
    deep: Any = "\ud800"
    for _ in range(5000):
        deep = [deep]
    for value in ({"content": deep}, {"\ud800": 1}, {"content": [{"type": "text", "text": "a\udfff"}]}):
        with pytest.raises(Refusal, match="x holds half of a surrogate pair"):
            ParamSpec("x", "messages", "").check([value])
