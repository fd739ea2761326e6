"""Summaries and replies through a real server: company, streams, beams, bad input, the official client library."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from serving.__main__ import main
from serving.client import Response
from tests.conftest import Tiny
from tests.serving.conftest import Server, running
from training.data import reports

pytestmark = pytest.mark.server

TEXT = reports.report(3, 1).source[0]
TALK = [{"role": "user", "content": "Hello, who are you?"}]
LONGEST = 16  # tokens that the tiny models write


@pytest.fixture(scope="module")
def server(
    tiny_summary: Tiny, tiny_dialogue: Tiny, tiny_bert_summary: Tiny, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """`summary`, `chat` and `bert`."""
    store = tmp_path_factory.mktemp("written")
    for tiny in (tiny_summary, tiny_dialogue, tiny_bert_summary):
        shutil.copy(tiny.archive, store)
    with running(store, tmp_path_factory.mktemp("written-run")) as started:
        yield started


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    """The official client library of the API whose field names are used; no path of ours is known to it."""
    transport = httpx2.HTTPTransport(uds=server.inference.removeprefix("unix:"))
    with httpx2.Client(transport=transport) as http:
        yield openai.OpenAI(base_url="http://localhost/predictions", api_key="none", http_client=http, max_retries=0)


def texts(answer: Response) -> list[str]:
    """The texts of an answer, streamed or not, in the order of their indices."""
    assert answer.status == 200, answer.body
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return [choice["text"] for choice in json.loads(answer.body)["choices"]]
    *events, last = answer.body.decode().removesuffix("\n\n").split("\n\n")
    assert last == "data: [DONE]"
    found: dict[int, str] = {}
    for event in events:
        for choice in json.loads(event.removeprefix("data: "))["choices"]:
            found[choice["index"]] = found.get(choice["index"], "") + choice["text"]
    return [found[index] for index in sorted(found)]


@pytest.mark.parametrize("model", ["summary", "bert"])
def test_texts_are_the_same_in_any_company(server: Server, model: str) -> None:
    """Drawn, searched, several at once, streamed; others of other lengths join and leave in mid-flight."""
    kinds: list[dict[str, Any]] = [
        {"seed": 1},
        {"seed": 2, "temperature": 1, "max_tokens": 12},
        {"seed": 3, "temperature": 0.7, "top_k": 30, "n": 3},
        {"seed": 4, "beams": 4, "n": 2, "max_tokens": 9},
        {"seed": 5, "temperature": 1, "top_p": 0.9, "stream": True, "min_tokens": 10},
        {"seed": 6, "repetition_penalty": 1.5, "stream": True},
    ]
    sources = [reports.report(5, at).source[0] for at in range(4)]
    asked = [{"text": sources[at % 4][: 60 + 40 * at], "truncate": True, **kinds[at % 6]} for at in range(12)]
    wanted = [texts(server.post(params, model)) for params in asked]
    assert len({json.dumps(found) for found in wanted}) > 6
    crowd = asked * 3
    with ThreadPoolExecutor(len(crowd)) as pool:
        answers = list(pool.map(lambda params: server.post(params, model), crowd))
    assert [texts(answer) for answer in answers] == wanted * 3


def test_a_stream_says_what_the_whole_answer_says(server: Server) -> None:
    params = {"text": TEXT, "seed": 9, "temperature": 1.0}
    assert texts(server.post(params, "summary")) == texts(server.post({**params, "stream": True}, "summary"))


def test_the_official_library_reads_summaries(client: openai.OpenAI) -> None:
    asked = {"text": TEXT, "seed": 7, "temperature": 1.0}
    whole = client.post("/summary", cast_to=Completion, body=asked)
    assert (whole.object, whole.model, whole.choices[0].index) == ("text_completion", "summary", 0)
    assert whole.choices[0].finish_reason in ("stop", "length")
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    pieces = client.post(
        "/summary",
        cast_to=Completion,
        body={**asked, "stream": True},
        stream=True,
        stream_cls=openai.Stream[Completion],
    )
    assert "".join(choice.text for piece in pieces for choice in piece.choices) == whole.choices[0].text


def test_the_official_library_reads_replies(client: openai.OpenAI) -> None:
    asked = {"messages": TALK, "seed": 7, "temperature": 1.0, "min_tokens": 4}
    whole = client.post("/chat", cast_to=ChatCompletion, body=asked)
    assert (whole.object, whole.choices[0].message.role) == ("chat.completion", "assistant")
    assert whole.usage is not None
    assert 4 <= whole.usage.completion_tokens <= LONGEST
    pieces = list(
        client.post(
            "/chat",
            cast_to=ChatCompletionChunk,
            body={**asked, "stream": True},
            stream=True,
            stream_cls=openai.Stream[ChatCompletionChunk],
        )
    )
    assert {piece.object for piece in pieces} == {"chat.completion.chunk"}
    assert "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices) == (
        whole.choices[0].message.content
    )
    assert pieces[-1].choices[0].finish_reason == whole.choices[0].finish_reason


def test_the_official_library_raises_what_it_raises_for_bad_requests(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="stop holds an empty string, which would end every text at once"):
        client.post("/summary", cast_to=Completion, body={"text": TEXT, "stop": ""})


BAD: dict[str, tuple[Any, int, str]] = {
    "empty": ({"text": ""}, 400, "text is empty; send some words"),
    "white space": ({"text": " \n\t "}, 400, "text is white space alone; send some words"),
    "a control character": ({"text": "a\x07b"}, 400, "text holds the control character U+0007; leave it out"),
    "half of a surrogate pair": (b'{"text": "\\ud83d"}', 400, "text holds half of a surrogate pair, which is no text"),
    "invalid UTF-8": (b'{"text": "\xff\xfe"}', 400, "the body is not valid JSON (byte 10 is no UTF-8)"),
    "a long document": ({"text": "word " * 5000}, 400, "reads at most"),
    "an unknown parameter": ({"text": TEXT, "tone": "dry"}, 400, "tone"),
    "beam and temperature": (
        {"text": TEXT, "beams": 4, "temperature": 1},
        400,
        "temperature is 1, but a search with 4 beams draws nothing; leave out one of the two",
    ),
    "a negative length": ({"text": TEXT, "max_tokens": -1}, 400, "max_tokens is -1, wanted an integer from 1 to 16"),
    "more least than most": (
        {"text": TEXT, "min_tokens": 9, "max_tokens": 8},
        400,
        "min_tokens is 9, over max_tokens, which is 8",
    ),
    "an empty stop string": ({"text": TEXT, "stop": ["x", ""]}, 400, "stop holds an empty string"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_alone(server: Server, name: str) -> None:
    params, status, message = BAD[name]
    workers = {process.pid for process in server.workers()}
    good = {"text": TEXT, "seed": 3}
    wanted = server.post(good, "summary").body
    with ThreadPoolExecutor(3) as pool:
        beside = [pool.submit(server.post, good, "summary") for _ in range(2)]
        refused = pool.submit(server.post, params, "summary").result()
        assert [future.result().body for future in beside] == [wanted] * 2
    assert refused.status == status
    assert message in json.loads(refused.body)["message"]
    assert {process.pid for process in server.workers()} == workers


def test_5_mb_are_refused_by_the_front_end(server: Server) -> None:
    workers = {process.pid for process in server.workers()}
    refused = server.post({"text": "word " * 1_000_000, "truncate": True}, "summary")
    assert (refused.status, refused.body) == (413, b"")
    assert server.post({"text": TEXT, "seed": 3}, "summary").status == 200
    assert {process.pid for process in server.workers()} == workers


def test_a_history_with_wrong_roles_is_refused(server: Server) -> None:
    for messages, message in (
        ([{"role": "assistant", "content": "Hi"}], "messages[0] has the role assistant, wanted user"),
        ([*TALK, *TALK], "messages[1] has the role user, wanted assistant"),
        ([*TALK, {"role": "assistant", "content": "I am"}], "messages must end with one of the user"),
        ([{"role": "system", "content": "Be brief"}], "messages[0] has the role system, wanted user"),
    ):
        refused = server.post({"messages": messages}, "chat")
        assert refused.status == 400
        assert message in json.loads(refused.body)["message"]


@pytest.mark.parametrize("model", ["summary", "chat", "bert"])
@pytest.mark.parametrize("more", [(), ("--seed", "7"), ("--n", "2", "--params", '{"temperature": 1}')])
def test_try_needs_a_name_alone(
    server: Server, model: str, more: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["try", model, *more, "--run-dir", str(server.run_dir), "--out", str(tmp_path)]) == 0
    document = json.loads((tmp_path / f"{model}.json").read_text())
    found = [choice["message"]["content"] if model == "chat" else choice["text"] for choice in document["choices"]]
    assert len(found) == (2 if "--n" in more else 1)
    assert "--seed" not in more or document["seed"] == 7
    written = "".join(f"{text}\n" for text in found)
    assert (tmp_path / f"{model}.txt").read_bytes() == written.encode()
    assert capsys.readouterr().out.endswith(f"\n{written}")


def test_reading_is_counted(server: Server) -> None:
    name = 'atelier_read_seconds_count{model="summary"}'
    before = server.metrics().get(name, 0)
    texts(server.post({"text": TEXT, "seed": 1}, "summary"))
    assert server.metrics()[name] == before + 1
