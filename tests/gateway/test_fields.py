"""The neutral-value rule, field by field: what is honoured, what passes, what is refused by its name."""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types import completion_create_params
from openai.types.chat import completion_create_params as chat_create_params

from gateway.v1.fields import CHAT, COMPLETIONS, Fields
from gateway.v1.schemas import fits
from tests.conftest import ROOT
from tests.gateway.conftest import Gateway, running, settings_for
from tests.support.fake_upstream import FakeUpstream, fake_upstream

ROUTES = {"chat": "/v1/chat/completions", "told": "/v1/completions", "summary": "/v1/completions"}
ASKS: dict[str, dict[str, Any]] = {
    "chat": {"model": "chat", "messages": [{"role": "user", "content": "hello"}]},
    "told": {"model": "told", "prompt": "It was"},
    "summary": {"model": "summary", "prompt": "long"},
}
TABLES = {"chat": CHAT, "told": COMPLETIONS, "summary": COMPLETIONS}
# A value that each honoured field takes, and one that it does not.
HONOURED: dict[str, tuple[Any, Any]] = {
    "temperature": (0.5, "hot"),
    "top_p": (1, 1.5),
    "n": (1, 0),
    "seed": (7, -1),
    "stop": ([], ["a"] * 5),
    "stream": (False, "yes"),
    "max_tokens": (4, 0),
    "max_completion_tokens": (4, 1.5),
    "user": ("ann", 7),
    "safety_identifier": ("a1", ["a1"]),
    "metadata": ({"a": "b"}, {str(i): "x" for i in range(17)}),
    "prompt_cache_key": ("k", 1),
    "prompt_cache_options": ({"mode": "implicit"}, "implicit"),
    "prompt_cache_retention": ("24h", 24),
    "logprobs": (False, 3),
    "echo": (False, 1),
    "best_of": (1, 2),
    "messages": (ASKS["chat"]["messages"], "hello"),
    "prompt": ("It was", 7),
    "model": ("chat", 7),
    "stream_options": ({"include_usage": True}, {"include_usage": 1}),
}
# What no field takes: it is neither neutral nor of the right type for any.
STRANGE = {"strange": ["value"]}


def rows(part: str) -> list[Any]:
    return [
        pytest.param(model, name, id=f"{model}-{name}")
        for model, fields in TABLES.items()
        for name in getattr(fields, part)
    ]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as fake:
        yield fake


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(settings_for(upstream, tmp_path_factory.mktemp("gw"), ignore_fields=("backend",))) as made:
        yield made


def asked(door: Gateway, model: str, /, **fields: Any) -> Any:
    return door.post(ROUTES[model], {**ASKS[model], **fields})


def named(reply: Any) -> dict[str, Any]:
    assert reply.status == 400, reply.body
    error: dict[str, Any] = reply.json["error"]
    assert error["type"] == "invalid_request_error"
    return error


@pytest.mark.parametrize(("model", "name"), rows("neutral"))
def test_a_neutral_field_passes_at_its_neutral_values_and_is_named_at_others(
    door: Gateway, upstream: FakeUpstream, model: str, name: str
) -> None:
    values: tuple[Any, ...] = TABLES[model].neutral[name]
    for value in values:
        reply = asked(door, model, **{name: value})
        assert reply.status == 200, f"{name} = {value!r}: {reply.body!r}"
        assert name not in upstream.asked[-1].params
    assert asked(door, model, **{name: None}).status == 200
    for wrong in (STRANGE, "strange", 2):
        error = named(asked(door, model, **{name: wrong}))
        assert error["param"] == name
        assert f"model {model} takes" in error["message"]


@pytest.mark.parametrize(("model", "name"), rows("refused"))
def test_a_refused_field_is_a_400_that_names_it(door: Gateway, model: str, name: str) -> None:
    wrong: tuple[Any, ...] = (STRANGE, "none", [], False, 0)
    for value in wrong:
        error = named(asked(door, model, **{name: value}))
        assert error["param"] == name
        assert "not taken here" in error["message"]
    assert asked(door, model, **{name: None}).status == 200, "null says nothing"


@pytest.mark.parametrize(("model", "name"), rows("honoured"))
def test_an_honoured_field_is_held_to_its_schema(door: Gateway, model: str, name: str) -> None:
    right, wrong = HONOURED[name]
    if name == "model":
        right = model
    reply = asked(door, model, **{name: right})
    assert reply.status == 200, f"{name} = {right!r}: {reply.body!r}"
    error = named(asked(door, model, **{name: wrong}))
    assert error["param"] == name
    for value in (STRANGE, 2.5, "strange"):
        if not fits(value, TABLES[model].honoured[name].schema):
            assert named(asked(door, model, **{name: value}))["param"] == name


@pytest.mark.parametrize(
    ("fields", "hints"),
    [
        (CHAT, chat_create_params.CompletionCreateParamsStreaming),
        (COMPLETIONS, completion_create_params.CompletionCreateParamsStreaming),
    ],
)
def test_every_field_of_the_official_client_has_a_rule(fields: Fields, hints: Any) -> None:
    known = {*fields.honoured, *fields.neutral, *fields.refused}
    assert set(typing.get_type_hints(hints)) - known == set()


def test_no_field_has_two_rules() -> None:
    for fields in (CHAT, COMPLETIONS):
        names = [*fields.honoured, *fields.neutral, *fields.refused]
        assert len(names) == len(set(names))


def test_an_unknown_field_is_told_what_is_known(door: Gateway) -> None:
    error = named(asked(door, "chat", num_ctx=4))
    assert error["param"] == "num_ctx"
    for known in ("max_completion_tokens", "logit_bias", "of model chat:", "repetition_penalty"):
        assert known in error["message"]


def test_what_the_operator_overlooks_passes(door: Gateway, upstream: FakeUpstream) -> None:
    assert asked(door, "chat", backend="x").status == 200
    assert "backend" not in upstream.asked[-1].params


@pytest.mark.parametrize("model", ROUTES)
def test_seed_minus_one_is_refused_with_what_to_do(door: Gateway, model: str) -> None:
    error = named(asked(door, model, seed=-1))
    assert error["param"] == "seed"
    assert "from 0 to 9007199254740991; leave it out to have one drawn" in error["message"]


def test_a_field_that_a_model_lacks_passes_where_it_changes_nothing(door: Gateway, upstream: FakeUpstream) -> None:
    assert asked(door, "told", top_p=1.0, stop=[]).status == 200
    assert not {"top_p", "stop"} & set(upstream.asked[-1].params)
    for name, value in (("top_p", 0.5), ("stop", "x")):
        error = named(asked(door, "told", **{name: value}))
        assert error["param"] == name
        assert "model told has no such parameter" in error["message"]


def test_one_is_no_true_and_numbers_are_one_type(door: Gateway) -> None:
    assert asked(door, "chat", presence_penalty=0.0, seed=7.0).status == 200
    assert named(asked(door, "chat", store=0))["param"] == "store"
    assert named(asked(door, "chat", presence_penalty=False))["param"] == "presence_penalty"


def test_a_models_own_parameter_is_held_to_its_own_bounds(door: Gateway, upstream: FakeUpstream) -> None:
    assert asked(door, "summary", beams=4, length_penalty=0.5).status == 200
    assert upstream.asked[-1].params["beams"] == 4
    error = named(asked(door, "summary", beams=9))
    assert (error["param"], "from 1 to 8" in error["message"]) == ("beams", True)


def test_options_of_a_stream(door: Gateway) -> None:
    whole = asked(door, "chat", stream_options={"include_usage": True})
    assert whole.json["usage"]["total_tokens"] == 8, "an answer that is no stream has its usage anyway"
    for wrong in ({"include_obfuscation": True}, {"include_usage": 1}, {"more": True}):
        error = named(asked(door, "chat", stream=True, stream_options=wrong))
        assert (error["param"], "include_usage (true or false)" in error["message"]) == ("stream_options", True)
    assert asked(door, "chat", stream=True, stream_options={"include_obfuscation": False}).status == 200


def test_every_field_is_in_the_documents() -> None:
    text = (ROOT / "docs/gateway.md").read_text().split("\n## Texts\n")[1].split("\n## ")[0]
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    fields = {name for t in (CHAT, COMPLETIONS) for part in (t.honoured, t.neutral, t.refused) for name in part}
    assert fields - told == set()
    assert told - fields == set(), "the documents name a field that no table has"
