"""`/v1/responses`: as the official client asks, as n8n does, its events, its fields and its refusals."""

from __future__ import annotations

import json
import re
import typing
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import response_create_params

from gateway.v1.response_fields import RESPONSES
from gateway.v1.schemas import fits
from tests.conftest import ROOT
from tests.gateway.clients import STORY, client
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.support.fake_upstream import FakeUpstream, Reply, fake_upstream, refused

URL = "/v1/responses"
ORDER = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    *["response.output_text.delta"] * 5,
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
    "response.completed",
]


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as fake:
        yield fake


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(settings_for(upstream, tmp_path_factory.mktemp("gw"), ignore_fields=("backend",))) as made:
        yield made


@pytest.fixture
def asked(door: Gateway) -> Iterator[Any]:
    with client(door) as made:
        yield made.responses


def message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "input_text", "text": text}]}


def test_a_whole_response(asked: Any, upstream: FakeUpstream) -> None:
    made = asked.create(model="chat", input="hello", temperature=0.5, max_output_tokens=9, metadata={"a": "b"})
    assert (made.object, made.status, made.output_text) == ("response", "completed", STORY)
    assert made.id.startswith("resp_")
    assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (3, 5, 8)
    assert (made.usage.input_tokens_details.cached_tokens, made.usage.output_tokens_details.reasoning_tokens) == (0, 0)
    assert (made.temperature, made.max_output_tokens, made.metadata, made.store) == (0.5, 9, {"a": "b"}, False)
    (item,) = made.output
    assert (item.type, item.role, item.status, item.content[0].annotations) == ("message", "assistant", "completed", [])
    assert upstream.asked[-1].params == {
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.5,
        "max_tokens": 9,
    }


def test_a_text_that_was_cut_is_incomplete_and_says_why(asked: Any) -> None:
    made = asked.create(model="chat", input="hello", max_output_tokens=2)
    assert (made.status, made.incomplete_details.reason, made.output[0].status) == (
        "incomplete",
        "max_output_tokens",
        "incomplete",
    )
    events = list(asked.create(model="chat", input="hello", max_output_tokens=2, stream=True))
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == "It was "


def test_a_models_own_parameters_go_beside_the_fields(asked: Any, upstream: FakeUpstream) -> None:
    made = asked.create(model="chat", input="hello", extra_body={"seed": 7, "top_k": 4})
    assert (upstream.asked[-1].params["seed"], upstream.asked[-1].params["top_k"]) == (7, 4)
    assert made.seed == 7


def test_a_conversation_is_sent_back_as_the_answers_came(asked: Any, upstream: FakeUpstream) -> None:
    first = asked.create(model="chat", input=[message("user", "hello")])
    asked.create(model="chat", input=[message("user", "hello"), *first.output, message("user", "and then?")])
    assert [turn["content"] for turn in upstream.asked[-1].params["messages"]] == ["hello", STORY, "and then?"]
    assert [turn["role"] for turn in upstream.asked[-1].params["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(("model", "param"), [("told", "prompt"), ("summary", "text")])
def test_models_that_read_one_text(asked: Any, upstream: FakeUpstream, model: str, param: str) -> None:
    assert asked.create(model=model, input="It was").output_text == STORY
    assert upstream.asked[-1].params == {param: "It was"}
    asked.create(model=model, input=[message("user", "It is")])
    assert upstream.asked[-1].params == {param: "It is"}
    turns = [message("user", "a"), message("assistant", "b"), message("user", "c")]
    with pytest.raises(openai.BadRequestError, match=f"input has 3 turns; model {model} reads one text") as error:
        asked.create(model=model, input=turns)
    assert error.value.param == "input"


def test_events_come_in_their_order_with_their_numbers(asked: Any) -> None:
    events = list(asked.create(model="chat", input="hello", stream=True))
    assert [event.type for event in events] == ORDER
    assert [event.sequence_number for event in events] == list(range(len(ORDER)))
    start, whole = events[0].response, events[-1].response
    assert (start.status, start.output, start.usage, start.id) == ("in_progress", [], None, whole.id)
    (item,) = whole.output
    assert {event.item_id for event in events if hasattr(event, "item_id")} == {item.id}
    assert (events[2].item.id, events[2].item.content) == (item.id, [])
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == STORY
    assert (events[-4].text, whole.output_text, whole.usage.total_tokens) == (STORY, STORY, 8)


def test_names_of_events_are_lines_of_their_own(door: Gateway) -> None:
    reply = door.post(URL, {"model": "chat", "input": "hello", "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.headers["x-accel-buffering"] == "no"
    for event in reply.body.decode().strip().split("\n\n"):
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


def test_the_clients_own_stream(asked: Any) -> None:
    with asked.stream(model="chat", input="hello") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert text == STORY
        assert stream.get_final_response().output_text == STORY


def test_what_is_refused_before_the_first_word_has_its_own_status(asked: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="from 1 to 64") as error:
        asked.create(model="chat", input="hello", max_output_tokens=99, stream=True)
    assert error.value.param == "max_output_tokens"


def test_a_stream_that_breaks_raises_in_the_client(asked: Any, upstream: FakeUpstream) -> None:
    first = upstream.models["chat"].document["name"]
    piece = json.dumps({"choices": [{"index": 0, "delta": {"content": "It "}, "finish_reason": None}]})
    upstream.models[first].reply = lambda _asked: Reply(
        [f"data: {piece}\n\n".encode(), b""], "text/event-stream", breaks=True
    )
    try:
        seen = []
        with pytest.raises(openai.APIError, match="broke off its answer") as error:
            seen.extend(asked.create(model="chat", input="hello", stream=True))
        assert error.value.code == "overloaded"
    finally:
        upstream.models[first].reply = None


def test_a_caller_who_leaves_ends_the_work(asked: Any, upstream: FakeUpstream) -> None:
    before = len(upstream.cancelled)
    upstream.hold()
    try:
        with asked.create(model="chat", input="hello", stream=True) as stream:
            assert next(iter(stream)).type == "response.created"
        eventually(lambda: upstream.running == 0, 10, "the work goes on")
        assert len(upstream.cancelled) == before + 1
    finally:
        upstream.release()


def test_an_error_names_the_callers_own_field(asked: Any, upstream: FakeUpstream) -> None:
    upstream.models["chat"].reply = lambda _asked: refused(400, "messages is too long", "messages")
    try:
        with pytest.raises(openai.BadRequestError) as error:
            asked.create(model="chat", input="hello")
        assert error.value.param == "input"
    finally:
        upstream.models["chat"].reply = None


def test_as_the_default_node_of_n8n_asks(door: Gateway) -> None:
    content = [{"type": "input_text", "text": "hello"}]
    body = {"model": "chat", "input": [{"role": "user", "content": content}]}
    reply = door.post(URL, {**body, "parallel_tool_calls": True, "store": True, "background": False, "tools": []})
    assert reply.status == 200
    assert reply.json["output"][0]["content"][0]["text"] == STORY
    assert reply.json["store"] is False, "it says what is done"


def test_instructions_are_a_system_message(door: Gateway, upstream: FakeUpstream, tmp_path: Any) -> None:
    body = {"model": "chat", "input": [message("developer", "Rhyme."), message("user", "hello")]}
    for wrong, param in ((body, "input[0].role"), ({**body, "instructions": "Be brief."}, "instructions")):
        error = door.post(URL, wrong).json["error"]
        assert (error["param"], "was not trained to follow one" in error["message"]) == (param, True)
    with running(settings_for(upstream, tmp_path, system={"chat": "prepend", "told": "prepend"})) as gateway:
        assert gateway.post(URL, {**body, "instructions": "Be brief."}).status == 200
        assert upstream.asked[-1].params["messages"] == [{"role": "user", "content": "Be brief.\n\nRhyme.\n\nhello"}]
        assert gateway.post(URL, {"model": "told", "instructions": "A.", "input": "B"}).status == 200
        assert upstream.asked[-1].params == {"prompt": "A.\n\nB"}


@pytest.mark.parametrize(
    ("given", "param", "said"),
    [
        (None, "input", "input is missing"),
        ([], "input", "wanted a string or a list"),
        ([{"type": "function_call_output"}], "input[0].type", "wanted message"),
        ([{"type": {}, "role": "user", "content": "x"}], "input[0].type", "wanted message"),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0].type", "wanted message"),
        ([{"role": "user"}], "input[0].content", "wanted a string or a list of parts"),
        ([{"role": "user", "content": []}], "input[0].content", "wanted a string or a list of parts"),
        ([{"role": "tool", "content": "x"}], "input[0].role", "no model here calls tools"),
        ([{"role": "user", "content": "x", "name": "ann"}], "input[0].name", "role and content alone"),
        ([{"role": "user", "content": ["x"]}], "input[0].content[0]", "input_text"),
        ([{"role": "user", "content": [{"type": "input_image"}]}], "input[0].content[0].type", "words alone"),
        ([{"role": "user", "content": [{"type": "input_text"}]}], "input[0].content[0].text", "words alone"),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "x", "more": 1}]}],
            "input[0].content[0].more",
            "words alone",
        ),
        ([message("user", "a"), message("user", "b")], "input[1].role", "join the two"),
        ([message("user", "a"), message("assistant", "b")], "input", "must end with one of the user"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_place(door: Gateway, given: Any, param: str, said: str) -> None:
    error = door.post(URL, {"model": "chat", "input": given}).json["error"]
    assert (error["param"], said in error["message"]) == (param, True), error


def test_structured_output_and_tools_are_refused_by_name(door: Gateway) -> None:
    schema = {"format": {"type": "json_schema", "name": "a", "schema": {}}}
    for name, value in (("text", schema), ("tools", [{"type": "image_generation"}]), ("tool_choice", "required")):
        reply = door.post(URL, {"model": "chat", "input": "hello", name: value})
        assert (reply.status, reply.json["error"]["param"]) == (400, name)


def test_no_response_is_kept(asked: Any) -> None:
    made = asked.create(model="chat", input="hello")
    for ask in (asked.retrieve, asked.delete):
        with pytest.raises(openai.NotFoundError, match=f"there is no response '{made.id}': none is kept"):
            ask(made.id)


# A value that each honoured field takes, and one that it does not.
HONOURED: dict[str, tuple[Any, Any]] = {
    "model": ("chat", 7),
    "input": ("hello", 7),
    "instructions": ("", 7),
    "temperature": (0.5, "hot"),
    "top_p": (1, 1.5),
    "max_output_tokens": (4, 0),
    "stream": (False, "yes"),
    "stream_options": ({"include_obfuscation": False}, {"include_obfuscation": True}),
    "text": ({"format": {"type": "text"}, "verbosity": "medium"}, {"format": {"type": "json_object"}}),
    "metadata": ({"a": "b"}, {str(i): "x" for i in range(17)}),
    "user": ("ann", 7),
    "safety_identifier": ("a1", ["a1"]),
    "prompt_cache_key": ("k", 1),
    "prompt_cache_options": ({"mode": "implicit"}, "implicit"),
    "prompt_cache_retention": ("24h", 24),
}


def ask(door: Gateway, **fields: Any) -> Any:
    return door.post(URL, {"model": "chat", "input": "hello", **fields})


@pytest.mark.parametrize("name", RESPONSES.honoured)
def test_an_honoured_field_is_held_to_its_schema(door: Gateway, name: str) -> None:
    right, wrong = HONOURED[name]
    assert ask(door, **{name: right}).status == 200
    for value in (wrong, ["value"], 2.5):
        if not fits(value, RESPONSES.honoured[name].schema):
            reply = ask(door, **{name: value})
            assert (reply.status, reply.json["error"]["param"]) == (400, name), value


@pytest.mark.parametrize("name", RESPONSES.neutral)
def test_a_neutral_field_is_taken_at_its_neutral_values_alone(door: Gateway, upstream: FakeUpstream, name: str) -> None:
    for value in (*RESPONSES.neutral[name], None):
        assert ask(door, **{name: value}).status == 200, value
        assert name not in upstream.asked[-1].params
    for wrong in ("strange", {"strange": 1}, 2):
        reply = ask(door, **{name: wrong})
        assert (reply.status, reply.json["error"]["param"]) == (400, name)
        assert "model chat takes" in reply.json["error"]["message"]


@pytest.mark.parametrize("name", RESPONSES.refused)
def test_a_refused_field_is_named(door: Gateway, name: str) -> None:
    values: tuple[Any, ...] = ("strange", [], False, 0, {})
    for wrong in values:
        reply = ask(door, **{name: wrong})
        assert (reply.status, reply.json["error"]["param"]) == (400, name)
        assert "not taken here" in reply.json["error"]["message"]
    assert ask(door, **{name: None}).status == 200


def test_every_field_of_the_official_client_has_one_rule() -> None:
    names = [*RESPONSES.honoured, *RESPONSES.neutral, *RESPONSES.refused]
    assert len(names) == len(set(names))
    hints = typing.get_type_hints(response_create_params.ResponseCreateParamsStreaming)
    assert set(hints) - set(names) == set()


def test_every_field_is_in_the_documents() -> None:
    text = (ROOT / "docs/gateway.md").read_text().split("\n## Responses\n")[1].split("\n## ")[0]
    told = {name for row in text.splitlines() if row.startswith("| `") for name in re.findall(r"`(\w+)`", row)}
    names = {*RESPONSES.honoured, *RESPONSES.neutral, *RESPONSES.refused}
    assert names - told == set()
