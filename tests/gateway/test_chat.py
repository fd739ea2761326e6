"""Chat by the official client: objects, chunks, errors, system messages, and who gets which model."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from tests.gateway.clients import HELLO, STORY, client
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.raw import answer_of, connected
from tests.support.fake_upstream import FakeUpstream, Reply, refused

URL = "/v1/chat/completions"


@pytest.fixture
def api(gateway: Gateway) -> Iterator[Any]:
    with client(gateway) as made:
        yield made


def chunks_of(api: Any, **fields: Any) -> list[ChatCompletionChunk]:
    return list(api.chat.completions.create(model="chat", messages=HELLO, stream=True, **fields))


def follow(api: Any, seen: list[ChatCompletionChunk]) -> None:
    """Read a stream into `seen`, which keeps what came before an error."""
    for chunk in api.chat.completions.create(model="chat", messages=HELLO, stream=True):
        seen.append(chunk)


def refused_with(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    reply = gateway.post(URL, {"model": "chat", "messages": HELLO, **fields})
    assert reply.status == 400, reply.body
    error: dict[str, Any] = reply.json["error"]
    assert error["type"] == "invalid_request_error"
    return error


def test_an_answer_is_the_clients_own_object(api: Any) -> None:
    answer = api.chat.completions.create(model="chat", messages=HELLO, seed=7)
    assert answer.id.startswith("chatcmpl-")
    assert answer.object == "chat.completion"
    assert answer.created > 1_700_000_000
    assert answer.model == "chat"
    (choice,) = answer.choices
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "stop", None)
    assert (choice.message.role, choice.message.content, choice.message.refusal) == ("assistant", STORY, None)
    assert answer.usage.model_dump(exclude_unset=True) == {
        "prompt_tokens": 3,
        "completion_tokens": 5,
        "total_tokens": 8,
    }
    assert answer.seed == 7
    assert answer.digital_source_type.endswith("trainedAlgorithmicMedia")
    assert answer._request_id


def test_raw_answer_has_every_key_that_strict_clients_want(gateway: Gateway) -> None:
    reply = gateway.post(URL, {"model": "chat", "messages": HELLO})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    assert reply.headers["x-atelier-receipt"]
    (choice,) = reply.json["choices"]
    assert choice == {
        "index": 0,
        "message": {"role": "assistant", "content": STORY, "refusal": None},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert all(type(value) is int for value in reply.json["usage"].values())
    assert reply.json["system_fingerprint"] is None


def test_the_fingerprint_is_that_of_what_computed_it(fake: FakeUpstream, gateway: Gateway, api: Any) -> None:
    usual = json.dumps({"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]}).encode()
    head = "eyJmaW5nZXJwcmludCI6ImF2eDUxMiB0aHJlYWRzLTEifQ"  # {"fingerprint":"avx512 threads-1"}
    fake.models["chat"].reply = lambda _: Reply([usual], headers={"X-Atelier-Receipt": head})
    answer = api.chat.completions.create(model="chat", messages=HELLO)
    assert answer.system_fingerprint == "avx512 threads-1"


def test_a_stream_has_the_role_then_words_then_the_reason(api: Any) -> None:
    found = chunks_of(api)
    assert [chunk.object for chunk in found] == ["chat.completion.chunk"] * 7
    assert len({chunk.id for chunk in found}) == 1
    deltas = [chunk.choices[0].delta.model_dump(exclude_unset=True) for chunk in found]
    assert deltas[0] == {"role": "assistant", "content": "", "refusal": None}
    assert [delta["content"] for delta in deltas[1:-1]] == ["It ", "was ", "a ", "dark ", "night."]
    assert deltas[-1] == {}
    assert [chunk.choices[0].finish_reason for chunk in found] == [None] * 6 + ["stop"]
    assert all(chunk.usage is None for chunk in found)


def test_usage_comes_in_a_last_chunk_of_its_own_and_only_when_asked_for(gateway: Gateway, api: Any) -> None:
    found = chunks_of(api, stream_options={"include_usage": True})
    assert [chunk.usage for chunk in found[:-1]] == [None] * 7
    assert found[-1].choices == []
    assert found[-1].usage is not None
    assert found[-1].usage.total_tokens == 8
    ask = {"model": "chat", "messages": HELLO, "stream": True}
    plain = gateway.post(URL, ask).body
    assert b"usage" not in plain
    wanted = gateway.post(URL, {**ask, "stream_options": {"include_usage": True}})
    events = wanted.body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    assert all('"usage":null' in event for event in events[:-3])
    assert wanted.headers["content-type"].startswith("text/event-stream")
    assert wanted.headers["x-accel-buffering"] == "no"
    assert wanted.headers["x-request-id"]


def test_n_choices_have_a_role_and_a_reason_each(api: Any) -> None:
    whole = api.chat.completions.create(model="chat", messages=HELLO, n=3, temperature=1)
    assert [choice.index for choice in whole.choices] == [0, 1, 2]
    assert whole.usage.completion_tokens == 15
    found = chunks_of(api, n=3, temperature=1)
    for index in range(3):
        mine = [chunk.choices[0] for chunk in found if chunk.choices[0].index == index]
        assert mine[0].delta.role == "assistant"
        assert "".join(choice.delta.content or "" for choice in mine) == STORY
        assert mine[-1].finish_reason == "stop"


def test_log_probabilities_are_the_clients_own(api: Any) -> None:
    whole = api.chat.completions.create(model="chat", messages=HELLO, logprobs=True)
    first = whole.choices[0].logprobs.content[0]
    assert (first.token, first.logprob, first.bytes, first.top_logprobs) == ("It ", -0.5, [73, 116, 32], [])
    found = chunks_of(api, logprobs=True)
    logprobs = [chunk.choices[0].logprobs for chunk in found]
    assert "".join(token.token for one in logprobs if one for token in one.content or ()) == STORY


def test_fields_become_the_models_own_parameters(fake: FakeUpstream, api: Any) -> None:
    api.chat.completions.create(
        model="chat",
        messages=HELLO,
        temperature=0.5,
        top_p=0.9,
        stop=["x", "y"],
        max_completion_tokens=4,
        seed=3,
        extra_body={"top_k": 5, "repetition_penalty": 1.1},
    )
    params = dict(fake.asked[-1].params)
    assert params.pop("messages") == HELLO
    assert params == {
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["x", "y"],
        "max_tokens": 4,
        "seed": 3,
        "top_k": 5,
        "repetition_penalty": 1.1,
    }


def test_max_tokens_has_two_names_and_one_meaning(fake: FakeUpstream, gateway: Gateway) -> None:
    reply = gateway.post(URL, {"model": "chat", "messages": HELLO, "max_tokens": 2})
    assert reply.json["choices"][0]["finish_reason"] == "length"
    gateway.post(URL, {"model": "chat", "messages": HELLO, "max_tokens": 2, "max_completion_tokens": 2})
    assert [asked.params["max_tokens"] for asked in fake.asked] == [2, 2]
    error = refused_with(gateway, max_tokens=2, max_completion_tokens=3)
    assert "send one of them" in error["message"]
    error = refused_with(gateway, max_completion_tokens=65)
    assert error["param"] == "max_completion_tokens", "an error of the model names the caller's own field"
    assert "from 1 to 64" in error["message"]
    assert refused_with(gateway, max_tokens=65)["param"] == "max_tokens"


def test_content_may_be_parts(fake: FakeUpstream, api: Any) -> None:
    parts = [{"type": "text", "text": "good "}, {"type": "text", "text": "morning"}]
    api.chat.completions.create(model="chat", messages=[{"role": "user", "content": parts}])
    assert fake.asked[-1].params["messages"] == [{"role": "user", "content": "good morning"}]


SYSTEM = {"role": "system", "content": "Be kind."}


@pytest.mark.parametrize("role", ["system", "developer"])
def test_a_system_message_is_refused_unless_the_operator_says_otherwise(gateway: Gateway, role: str) -> None:
    error = refused_with(gateway, messages=[{**SYSTEM, "role": role}, *HELLO])
    assert error["param"] == "messages[0].role"
    assert 'system = {chat = "prepend"}' in error["message"]


def test_a_system_message_may_come_before_what_the_user_says(fake: FakeUpstream, tmp_path: Path) -> None:
    later = {"role": "developer", "content": "Be short."}
    messages = [SYSTEM, *HELLO, {"role": "assistant", "content": "hi"}, later, {"role": "user", "content": "bye"}]
    with running(settings_for(fake, tmp_path, system={"chat": "prepend"})) as gateway:
        assert gateway.post(URL, {"model": "chat", "messages": messages}).status == 200
        alone = gateway.post(URL, {"model": "chat", "messages": [SYSTEM]})
    assert [turn["content"] for turn in fake.asked[-1].params["messages"]] == [
        "Be kind.\n\nhello",
        "hi",
        "Be short.\n\nbye",
    ]
    assert alone.status == 400
    assert "must end with one of the user" in alone.json["error"]["message"]


WRONG: list[tuple[Any, str, str]] = [
    ("hello", "messages", "wanted a list"),
    ([], "messages", "wanted a list"),
    (["hello"], "messages", "each an object"),
    ([{"content": "a"}], "messages[0].role", "wanted user or assistant"),
    ([{"role": "robot", "content": "a"}], "messages[0].role", "'robot', wanted user or assistant"),
    ([{"role": "tool", "content": "a"}], "messages[0].role", "calls tools"),
    ([{"role": "function", "content": "a"}], "messages[0].role", "calls functions"),
    ([*HELLO, *HELLO], "messages[1].role", "join the two of the user"),
    ([{"role": "assistant", "content": "a"}, *HELLO], "messages[0].role", "wanted user"),
    ([*HELLO, {"role": "assistant", "content": "a"}], "messages", "must end with one of the user"),
    ([{"role": "user", "content": None}], "messages[0].content", "None, wanted a string or a list of parts"),
    ([{"role": "user", "content": []}], "messages[0].content", "wanted a string or a list of parts"),
    ([{"role": "user", "content": "a", "name": "Ann"}], "messages[0].name", "role and content alone"),
    ([{"role": "user", "content": ["a"]}], "messages[0].content[0]", "words alone are read"),
    (
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        "messages[0].content[0].type",
        "words alone are read",
    ),
    ([{"role": "user", "content": [{"type": "text", "text": 1}]}], "messages[0].content[0].text", "is 1"),
    (
        [{"role": "user", "content": [{"type": "text", "text": "a", "cache": 1}]}],
        "messages[0].content[0].cache",
        "words alone",
    ),
]


@pytest.mark.parametrize(("messages", "param", "message"), WRONG)
def test_what_is_wrong_with_a_message_has_its_place(
    fake: FakeUpstream, gateway: Gateway, messages: Any, param: str, message: str
) -> None:
    error = refused_with(gateway, messages=messages)
    assert error["param"] == param
    assert message in error["message"]
    assert not fake.asked, "a request that is refused was sent to the model"


def test_an_answer_can_be_sent_back_as_it_came(fake: FakeUpstream, api: Any) -> None:
    first = api.chat.completions.create(model="chat", messages=HELLO)
    messages = [*HELLO, first.choices[0].message, {"role": "user", "content": "and then?"}]
    api.chat.completions.create(model="chat", messages=messages)
    assert fake.asked[-1].params["messages"][1] == {"role": "assistant", "content": STORY}


def test_a_model_that_holds_no_conversation_is_refused_with_those_that_do(gateway: Gateway) -> None:
    error = refused_with(gateway, model="told")
    assert error["param"] == "model"
    assert "POST /v1/completions" in error["message"]
    assert error["message"].endswith("models that are: chat")
    assert "it makes image" in refused_with(gateway, model="drawn")["message"]


def test_an_alias_is_answered_by_its_model(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path, aliases={"gpt-4o-mini": "chat"})) as gateway, client(gateway) as api:
        answer = api.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "a"}])
        assert answer.model == "chat"
        with pytest.raises(openai.NotFoundError, match="there is altered, chat, digits") as caught:
            api.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "a"}])
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_metadata_comes_back(api: Any) -> None:
    answer = api.chat.completions.create(model="chat", messages=HELLO, metadata={"run": "7"}, user="ann")
    assert answer.metadata == {"run": "7"}


def test_a_packed_body_is_read(gateway: Gateway) -> None:
    body = gzip.compress(json.dumps({"model": "chat", "messages": HELLO}).encode())
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    assert gateway.post(URL, body=body, headers=headers).json["choices"][0]["message"]["content"] == STORY


def test_what_follows_a_packed_body_is_not_kept(gateway: Gateway) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
    packed = gzip.compress(json.dumps({"model": "chat", "messages": HELLO}).encode())
    with connected(gateway.port) as connection:
        connection.sendall(head % URL.encode() + b"Content-Length: 1000000000\r\n\r\n" + packed)
        connection.sendall(b"x" * 100)
        status, _, body = answer_of(connection)  # long before its end
    assert status == 400
    assert b"does not end where it should" in body


def test_a_packed_body_that_never_says_anything_has_an_end(gateway: Gateway) -> None:
    pack = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)
    nothing = pack.compress(b"") + b"".join(pack.flush(zlib.Z_FULL_FLUSH) for _ in range(3))
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    reply = gateway.post(URL, body=nothing + b"\x00\x00\x00\xff\xff" * 300_000, headers=headers)
    assert reply.status == 413
    assert "is over 1048576 bytes" in reply.json["error"]["message"]


@pytest.mark.parametrize("metadata", [{"run": "\ud800"}, {"\udfff": "7"}])
def test_half_a_surrogate_comes_back_to_nobody(gateway: Gateway, metadata: dict[str, str]) -> None:
    reply = gateway.post(URL, {"model": "chat", "messages": HELLO, "metadata": metadata})
    assert reply.status == 400
    assert reply.json["error"]["param"] == "metadata"
    assert "half of a surrogate pair" in reply.json["error"]["message"]
    assert gateway.post(URL, {"model": "chat", "messages": HELLO, "metadata": {"run": "\U0001f600"}}).status == 200


def test_a_long_conversation_goes_by_the_spool(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.models["chat"].document["limits"]["max_request_bytes"] = 200_000
    with running(settings_for(fake, tmp_path)) as gateway:
        for words, status in ((20_000, 200), (50_000, 413), (300_000, 413)):
            messages = [{"role": "user", "content": "word " * words}]
            reply = gateway.post(URL, {"model": "chat", "messages": messages})
            assert reply.status == status, f"{words} words: {reply.body[:200]!r}"
    (asked,) = fake.asked
    assert set(asked.params) == {"spooled"}
    assert asked.params["spooled"]["bytes"] > 100_000


# Errors


def test_an_error_before_the_first_word_has_its_status(fake: FakeUpstream, gateway: Gateway) -> None:
    fake.models["chat"].reply = lambda _: refused(503, "as many as it takes are waiting", retry_after="3")
    with client(gateway) as api, pytest.raises(openai.InternalServerError, match="are waiting") as caught:
        chunks_of(api)
    assert caught.value.status_code == 503
    assert caught.value.code == "overloaded"
    assert int(caught.value.response.headers["retry-after"]) >= 3


WORD = b'data: {"choices":[{"index":0,"delta":{"content":"It "},"finish_reason":null}]}\n\n'
BROKEN = b'data: {"error":{"code":504,"type":"DeadlineExceeded","message":"late","field":null}}\n\n'


@pytest.mark.parametrize(
    ("pieces", "message", "code"),
    [
        ([WORD, BROKEN], "late", "deadline"),
        ([WORD, WORD], "broke off its answer", "overloaded"),
        ([WORD, b"data: {half"], "broke off its answer", "overloaded"),
        ([WORD, b"data: no json\n\n"], "sent what is no event", None),
        ([WORD, b'data: {"choices":[{}]}\n\n'], "answered in another shape", None),
        ([WORD, b"data: " + b"x" * (1 << 20) + b"x" * 9], "sent what is no event", None),
    ],
)
def test_a_stream_that_breaks_ends_in_an_error_and_not_in_done(
    fake: FakeUpstream, gateway: Gateway, pieces: list[bytes], message: str, code: str | None
) -> None:
    fake.models["chat"].reply = lambda _: Reply(pieces, "text/event-stream")
    seen: list[ChatCompletionChunk] = []
    with client(gateway) as api, pytest.raises(openai.APIError, match=message) as caught:
        follow(api, seen)
    assert len(seen) >= 2, "what was written before the error came"
    assert caught.value.code == code
    reply = gateway.post(URL, {"model": "chat", "messages": HELLO, "stream": True})
    last = reply.body.decode().strip().split("\n\n")[-1]
    assert set(json.loads(last.removeprefix("data: "))["error"]) == {"message", "type", "param", "code"}
    assert b"[DONE]" not in reply.body


def test_events_may_come_in_any_pieces(fake: FakeUpstream, gateway: Gateway) -> None:
    end = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    text = WORD + WORD.replace(b"It", "夜".encode()) + end
    fake.models["chat"].reply = lambda _: Reply(
        [text[at : at + 7] for at in range(0, len(text), 7)], "text/event-stream"
    )
    with client(gateway) as api:
        found = chunks_of(api)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in found) == "It 夜 "


def test_a_caller_who_leaves_a_stream_ends_its_work(fake: FakeUpstream, gateway: Gateway) -> None:
    fake.hold()
    with client(gateway) as api:
        stream = api.chat.completions.create(model="chat", messages=HELLO, stream=True)
        assert next(iter(stream)).choices[0].delta.role == "assistant"
        stream.close()
        eventually(lambda: len(fake.cancelled) == 1, 30, "the request was not cancelled")
    eventually(lambda: not fake.running, 30, "the request was not ended")
