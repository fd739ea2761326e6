"""Strict reading: what does not fit is refused with its place."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest

from handlers.records import RecordError, parse, read


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int
    word: Literal["a", "b"] = "a"


@dataclasses.dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    many: tuple[Inner, ...]
    by_name: dict[str, float]
    shape: tuple[int | str, ...]
    maybe: str | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        if self.name == "bad":
            raise ValueError("name must not be bad")


GOOD: dict[str, Any] = {
    "name": "x",
    "inner": {"size": 1},
    "many": [{"size": 2, "word": "b"}],
    "by_name": {"p": 1, "q": 2.5},
    "shape": ["batch", 3],
}


def test_a_fitting_object_is_read() -> None:
    assert read(Outer, GOOD, "f") == Outer("x", Inner(1), (Inner(2, "b"),), {"p": 1.0, "q": 2.5}, ("batch", 3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, r"f\.name is '3' \(int\), wanted str"),
        ({"name": "bad"}, "f: name must not be bad"),
        ({"by_name": {"p": 10**400}}, r"f\.by_name\.p is an integer of 1329 bits, wanted a number"),
        ({"inner": {"size": True}}, r"f\.inner\.size is 'True' \(bool\), wanted int"),
        ({"inner": {"size": 1.5}}, r"f\.inner\.size is '1\.5' \(float\), wanted int"),
        ({"inner": {}}, r"f\.inner lacks the field 'size'"),
        ({"inner": []}, r"f\.inner is '\[\]' \(list\), wanted an object"),
        ({"many": [{"size": 1}, {"size": "2"}]}, r"f\.many\[1\]\.size"),
        ({"many": {}}, r"f\.many is '\{\}' \(dict\), wanted a list"),
        ({"many": [{"size": 1, "word": "c"}]}, r"f\.many\[0\]\.word is 'c' \(str\), wanted one of a, b"),
        ({"by_name": {"p": "1"}}, r"f\.by_name\.p is '1' \(str\), wanted float"),
        ({"shape": [None]}, r"f\.shape\[0\] is 'None' \(NoneType\), wanted int or str"),
        ({"maybe": 1}, r"f\.maybe is '1' \(int\), wanted str"),
        ({"flag": 1}, r"f\.flag is '1' \(int\), wanted bool"),
        ({"more": 1}, r"f has the unknown field 'more'; known: name, inner"),
    ],
)
def test_refusals(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read(Outer, GOOD | change, "f")


@pytest.mark.parametrize(
    "data",
    [b"", b"[" * 100_000, b'{"format": "x"}\xff', b'\xef\xbb\xbf{"format": "x"}', '{"format": "x"}'.encode("utf-16")],
)
def test_what_is_no_json_in_utf_8_is_refused_by_name(data: bytes) -> None:
    with pytest.raises(RecordError, match=r"^there/file is not valid JSON \(.*\); build the bundle again$"):
        parse(data, "there/file", "x")
