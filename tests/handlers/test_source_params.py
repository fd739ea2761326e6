"""Requests for text: what is missing, malformed, contradictory, or would have no effect, is refused by name."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import Any

import pytest

from export.graphs.text_schema import params_of
from handlers.refusals import Refusal
from handlers.text import source_params
from handlers.text.source_params import SourceParams
from handlers.text.sources import Sources
from handlers.text.tokenizer import SubwordTokenizer
from tests.support.helpers import source_limits

LIMITS = source_limits(max_slots=6, max_source=6, max_source_bytes=40, max_stop=4, max_stop_characters=8)


class Words(SubwordTokenizer):
    """A token for every word."""

    def __init__(self) -> None:
        """There is no file."""

    def encode_turns(self, turns: Sequence[str]) -> list[int]:
        return [10 + len(word) for turn in turns for word in turn.split()]


def parse(chat: bool = False, **params: Any) -> SourceParams:
    return source_params.parse(params, params_of(chat, 32), LIMITS, "news", Sources(Words(), LIMITS, "news"))


def refused(chat: bool = False, **params: Any) -> tuple[str | None, str]:
    with pytest.raises(Refusal) as error:
        parse(chat, **params)
    assert error.value.status == 400
    return error.value.field, error.value.message


def chat(*contents: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[at % 2], "content": content} for at, content in enumerate(contents)]


def test_defaults_take_the_likeliest_token() -> None:
    found = parse(text="one three")
    assert (found.turns, found.ids) == (("one three",), (13, 15))
    assert (found.max_tokens, found.temperature, found.rows, found.stop) == (32, 0.0, 1, ())
    assert found.content_type == "application/json"
    assert parse(text="a", stream=True).content_type.startswith("text/event-stream")


def test_a_seed_is_drawn_where_none_is_given() -> None:
    assert parse(text="a").seed != parse(text="a").seed
    assert parse(text="a", seed=5).seed == 5


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({}, "text", "text is missing: it is what news reads"),
        ({"text": ""}, "text", "text is empty; send some words"),
        ({"text": " \n\t"}, "text", "text is white space alone; send some words"),
        ({"text": "a\x07b"}, "text", "text holds the control character U+0007; leave it out"),
        ({"text": "a\x85b"}, "text", "text holds the control character U+0085; leave it out"),
        ({"text": "a\ud800"}, "text", "text holds half of a surrogate pair, which is no text; send whole characters"),
        ({"text": "a", "stop": "\ud800"}, "stop", "stop holds half of a surrogate pair, which is no text; send whole"),
        ({"text": "a", "stop": ["a", "b\udfff"]}, "stop", "stop holds half of a surrogate pair, which is no text"),
        ({"text": 5}, "text", "text is 5, wanted a string"),
        ({"text": "a", "max_tokens": 0}, "max_tokens", "max_tokens is 0, wanted an integer from 1 to 32"),
        ({"text": "a", "max_tokens": -1}, "max_tokens", "max_tokens is -1, wanted an integer from 1 to 32"),
        ({"text": "a", "min_tokens": -3}, "min_tokens", "min_tokens is -3, wanted an integer from 0 to 32"),
        (
            {"text": "a", "min_tokens": 9, "max_tokens": 8},
            "min_tokens",
            "min_tokens is 9, over max_tokens, which is 8",
        ),
        (
            {"text": "a", "stop": ["x", ""]},
            "stop",
            "stop holds an empty string, which would end every text at once; leave it out",
        ),
        (
            {"text": "a", "stop": ""},
            "stop",
            "stop holds an empty string, which would end every text at once; leave it out",
        ),
        ({"text": "a", "stop": list("abcde")}, "stop", "stop has 5 strings, wanted at most 4"),
        ({"text": "a", "stop": "x" * 9}, "stop", "stop holds a string of 9 characters, wanted at most 8"),
        ({"text": "a", "stop": [1]}, "stop", "stop is a list, wanted a string or a list of strings"),
        ({"text": "a", "words": 3}, "words", 'unknown field "words"; known fields: text, max_tokens'),
    ],
)
def test_what_is_wrong_is_named(params: dict[str, Any], field: str, message: str) -> None:
    found = refused(**params)
    assert found[0] == field
    assert found[1].startswith(message)


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        (
            {"beams": 4, "temperature": 0.5},
            "temperature",
            "temperature is 0.5, but a search with 4 beams draws nothing",
        ),
        ({"beams": 4, "top_k": 5}, "top_k", "top_k is 5, but a search with 4 beams draws nothing"),
        ({"beams": 4, "repetition_penalty": 1.5}, "repetition_penalty", "repetition_penalty is 1.5, but a search"),
        ({"beams": 4, "stream": True}, "stream", "a beam search has nothing to send before its end"),
        ({"beams": 4, "stop": "x"}, "stop", "beam search knows no stop strings"),
        ({"beams": 7}, "beams", "beams is 7, news writes at most 6 texts at once"),
        ({"temperature": 1, "n": 8}, "n", "n is 8, news writes at most 6 texts at once"),
        ({"beams": 2, "n": 3}, "n", "n is 3, wanted at most beams, which is 2"),
        ({"length_penalty": 0.5}, "length_penalty", "length_penalty is for beam search alone; set beams to 2 or more"),
        ({"coverage_penalty": 0.5}, "coverage_penalty", "coverage_penalty is for beam search alone"),
        ({"top_p": 0.5}, "top_p", "top_p has no effect at temperature 0, where nothing is drawn; raise temperature"),
        ({"top_k": 5}, "top_k", "top_k has no effect at temperature 0"),
        ({"n": 2}, "n", "at temperature 0 all n texts would be the same; raise temperature, or set beams"),
    ],
)
def test_contradictions_are_refused(params: dict[str, Any], field: str, message: str) -> None:
    found = refused(text="a", **params)
    assert found[0] == field
    assert message in found[1]


def test_what_goes_together_is_taken() -> None:
    assert parse(text="a", beams=4, n=2, length_penalty=0.6, coverage_penalty=0.2).rows == 4
    assert parse(text="a", temperature=0.7, top_k=5, top_p=0.9, n=3).rows == 3
    assert parse(text="a", stop="x").stop == ("x",)
    assert parse(text="a", stop=["x", "y"]).stop == ("x", "y")


def test_a_long_source_is_refused_or_cut_at_its_end() -> None:
    words = "a bb ccc dddd eeeee ffffff ggggggg"
    field, message = refused(text=words)
    assert (field, message) == (
        "text",
        "text has 7 tokens, news reads at most 6; shorten it, or send truncate=true to have it cut",
    )
    assert parse(text=words, truncate=True).ids == tuple(range(11, 17))
    _, message = refused(text="x" * 41)
    assert message.startswith("text has 41 bytes, news reads at most 40 (6 tokens); shorten it")
    assert parse(text="é" * 41, truncate=True).ids == (30,)  # whole characters of the first 40 bytes


def test_the_length_is_looked_at_before_the_characters() -> None:
    """Half a megabyte is never searched: what is too long is refused for that or cut, and what is kept is looked at."""
    long = "a " * 20 + "\a" * 2**19
    assert refused(text=long)[1].startswith("text has 524328 bytes, news reads at most 40")
    assert parse(text=long, truncate=True).ids == (11,) * 6
    assert refused(text="\a" + long, truncate=True)[1] == "text holds the control character U+0007; leave it out"
    talk = chat("\a" * 50, "b", "c dd")
    assert refused(True, messages=talk)[1].startswith("messages has 55 bytes, news reads at most 40")
    assert parse(True, messages=talk, truncate=True).ids == (11, 12)


def test_every_character_of_a_text_may_be_sent_but_control_characters() -> None:
    for code in (*range(0x500), 0x2028, 0xFEFF, 0xFFFE, 0xFFFF, 0x1F600, 0x10FFFF):
        text = f"a{chr(code)}"
        if unicodedata.category(chr(code)) == "Cc" and chr(code) not in "\t\n\r":
            assert refused(text=text) == ("text", f"text holds the control character U+{code:04X}; leave it out")
        else:
            assert parse(text=text).turns == (text,)


def test_a_long_conversation_loses_its_beginning() -> None:
    found = parse(True, messages=chat("a bb ccc", "dddd", "eeeee ffffff ggggggg"), truncate=True)
    assert found.ids == tuple(range(12, 18))
    assert refused(True, messages=chat("a bb ccc", "dddd", "eeeee ffffff ggggggg"))[0] == "messages"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (None, "messages is missing: it is what news reads"),
        ([], "messages is a list, wanted a list of objects with role and content"),
        ("hello", 'messages is "hello", wanted a list of objects with role and content'),
        ([{"role": "user"}], "messages[0] wants exactly a role and a content, both strings"),
        ([{"role": "user", "content": "a", "name": "x"}], "messages[0] wants exactly a role and a content"),
        ([{"role": "user", "content": ["a"]}], "messages[0] wants exactly a role and a content, both strings"),
        ([{"role": "user", "content": None}], "messages[0] wants exactly a role and a content, both strings"),
        ([{"role": "user", "content": []}], "messages[0] wants exactly a role and a content, both strings"),
        ([{"role": ["user"], "content": "a"}], "messages[0] wants exactly a role and a content, both strings"),
        (
            [{"role": "user", "content": "a", "name\n": "x"}],
            'messages[0] wants exactly a role and a content, both strings; leave out "name?"',
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}],
            'messages[0] has a content with one of type "image_url", wanted a string or a list of parts {',
        ),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}],
            "messages[0] has a content with one with other fields, wanted a string or a list of parts",
        ),
        ([{"role": "user", "content": [{"type": "text", "text": "a\ud800"}]}], "messages holds half of a surrogate"),
        (
            [{"role": "system", "content": "a"}],
            "messages[0] has the role system, wanted user: user and assistant take turns, and no other is read: "
            "put what it says into the first message of the user, or leave it out",
        ),
        (
            chat("a")[:1] * 2,
            "messages[1] has the role user, wanted assistant: user and assistant take turns; "
            "join the two of the user into one message",
        ),
        ([{"role": "system", "content": "a"}], "messages[0] has the role system, wanted user"),
        ([{"role": "owner", "content": "a"}], "messages[0] has the role another one, wanted user"),
        (chat("a")[:1] * 2, "messages[1] has the role user, wanted assistant: user and assistant take turns"),
        (chat("a", "b"), "messages must end with one of the user, which is what is answered"),
        (chat("a\udc00"), "messages holds half of a surrogate pair, which is no text; send whole characters"),
        (chat("a", "b\x00", "c"), "messages holds the control character U+0000; leave it out"),
        (chat("a", " ", "c"), "messages is white space alone; send some words"),
    ],
)
def test_histories_that_are_none_are_refused(messages: Any, message: str) -> None:
    field, found = refused(True, messages=messages)
    assert field == "messages"
    assert found.startswith(message)


def test_a_receipt_holds_no_text_of_the_users() -> None:
    public = parse(text="secret words", stop="secret", seed=1).public()
    assert "secret" not in str(public)
    assert public["seed"] == 1
    assert public["source"] != parse(text="other words", seed=1).public()["source"]
    assert set(public) >= {"source", "stop", "max_tokens", "temperature", "beams", "truncate"}


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"text": "three", "type": "text"}]
    found = parse(True, messages=[{"role": "user", "content": parts}])
    assert (found.turns, found.ids) == (("one three",), (13, 15))
    assert found.public()["source"] == parse(True, messages=chat("one three")).public()["source"]


def test_integers_may_be_written_as_floats() -> None:
    found = parse(text="a", max_tokens=8.0, min_tokens=1e0, top_k=20.0, n=3.0, beams=1.0, seed=1e3, temperature=1)
    assert (found.max_tokens, found.min_tokens, found.top_k, found.rows, found.seed) == (8, 1, 20, 3, 1000)
    assert all(type(value) is int for value in (found.max_tokens, found.rows, found.seed))
