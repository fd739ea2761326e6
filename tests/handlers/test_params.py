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
        ({"seed": 1.0}, "seed", "seed is 1.0, wanted an integer"),
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
