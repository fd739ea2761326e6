"""Text through a real server: streams, seeds, company, limits, deadlines, cancellation, gRPC."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks.load import SEED, Load, send
from serving.client import Response
from serving.tryout import decode_receipt
from serving.warm import warm, warm_refusals
from tests.serving.conftest import JSON, Server, eventually

pytestmark = pytest.mark.server


def text_of(answer: Response) -> str:
    """The whole text of an answer, streamed or not."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        events = answer.body.decode().removesuffix("\n\n").split("\n\n")
        assert events[-1] == "data: [DONE]"
        documents = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
        return "".join(document["choices"][0]["text"] for document in documents)
    return str(json.loads(answer.body)["choices"][0]["text"])


def test_a_text_comes_whole_or_as_a_stream(server: Server) -> None:
    whole = server.post({"seed": 5, "max_tokens": 80}, "text")
    stream = server.post({"seed": 5, "max_tokens": 80, "stream": True}, "text")
    assert (whole.status, stream.status) == (200, 200)
    assert text_of(whole) == text_of(stream)
    document = json.loads(whole.body)
    assert document["usage"]["completion_tokens"] <= 80
    assert document["choices"][0]["finish_reason"] in ("stop", "length")
    assert document["digital_source_type"].endswith("trainedAlgorithmicMedia")
    receipt = decode_receipt(stream.headers["x-atelier-receipt"])
    assert receipt["params"]["seed"] == 5
    assert receipt["model"] == "text"


def test_the_same_seed_gives_the_same_text_in_any_company(server: Server) -> None:
    wanted = {seed: text_of(server.post({"seed": seed, "max_tokens": 60}, "text")) for seed in range(8)}
    assert len(set(wanted.values())) > 1
    for _ in range(3):
        requests: list[dict[str, Any]] = [
            {"seed": i % 8, "max_tokens": 60, "stream": i % 3 == 0}
            if i % 2
            else {"seed": 100 + i, "max_tokens": 5 * i + 1}
            for i in range(48)
        ]
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = list(pool.map(lambda params: server.post(params, "text"), requests))
        assert {answer.status for answer in answers} == {200}
        for params, answer in zip(requests, answers, strict=True):
            if params["max_tokens"] == 60 and params["seed"] < 8:
                assert text_of(answer) == wanted[params["seed"]]


def test_a_stream_begins_before_it_ends(server: Server) -> None:
    body = json.dumps({"seed": 1, "max_tokens": 1024, "temperature": 0, "stream": True}).encode()
    head = "POST /predictions/text HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    pieces: list[float] = []
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(server.inference.removeprefix("unix:"))
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        data = b""
        while b"[DONE]" not in data:
            new = client.recv(65536)
            assert new, data[-300:]
            data += new
            pieces.append(time.monotonic())
    assert data.count(b"data: {") >= 3  # sent piece by piece, about fifty times a second
    assert pieces[-1] > pieces[0]


def test_bad_requests_are_refused_by_name(server: Server) -> None:
    for params, message in (
        ({"max_tokens": 0}, "max_tokens is 0, wanted an integer from 1 to 1024"),
        ({"prompt": 7}, "prompt is 7, wanted a string"),
        ({"prompt": "x" * 1025}, "prompt has 1025 bytes in UTF-8, text takes at most 1024"),
        ({"prompt": "a\0b"}, "prompt holds a NUL character"),
        ({"n": 2}, 'unknown field "n"; known fields: prompt, max_tokens'),
    ):
        answer = server.post(params, "text")
        assert answer.status == 400
        assert message in json.loads(answer.body)["message"]
    assert server.post({"seed": 1}, "text").status == 200


def test_more_than_it_takes_is_refused_and_says_when_to_come_again(server: Server) -> None:
    body = f'{{"seed": {SEED}, "max_tokens": 1024, "temperature": 0}}'
    result = send(Load(server.inference, "/predictions/text", body, 3.0, 0.2, clients=300))
    assert set(result.counts) == {"200", "503"}  # nothing hangs, nothing breaks
    with ThreadPoolExecutor(200) as pool:
        answers = list(
            pool.map(lambda i: server.post({"seed": i, "max_tokens": 1024, "temperature": 0}, "text"), range(200))
        )
    refused = [answer for answer in answers if answer.status == 503]
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert (
        "96 requests are waiting or being computed, which is all text takes" in json.loads(refused[0].body)["message"]
    )
    eventually(lambda: server.control("text", "health")["in_flight"] == 0, 60, "requests are left in the engine")


def test_a_request_can_be_cancelled(server: Server) -> None:
    with ThreadPoolExecutor(1) as pool:
        headers = {**JSON, "X-Atelier-Id": "mine-1"}
        answers = []
        for attempt in range(20):  # it may be whole before the cancellation comes
            future = pool.submit(server.post, {"seed": attempt, "max_tokens": 1024, "temperature": 0}, "text", headers)
            time.sleep(0.02)
            cancelled = server.post({}, "text", {**JSON, "X-Atelier": "cancel", "X-Atelier-Id": "mine-1"})
            answers.append((cancelled.status, future.result().status))
            if cancelled.status == 200:
                break
    assert answers[-1] == (200, 499), answers
    unknown = server.post({}, "text", {**JSON, "X-Atelier": "cancel", "X-Atelier-Id": "nobody"})
    assert unknown.status == 404
    assert "no request of that X-Atelier-Id" in json.loads(unknown.body)["message"]


def test_two_hundred_thousand_pings_lose_no_worker(server: Server) -> None:
    """At this rate a front end whose table of requests was not made wide loses an entry, and with it the worker."""
    workers = {process.pid for process in server.workers()}
    answered = 0
    while answered < 200_000:  # a round ends where it warms nothing any more
        found = warm(server.inference, ["tiny", "text"], requests=200_000 - answered, seconds=60)
        assert found
        answered += found
    assert {process.pid for process in server.workers()} == workers


def test_refusals_are_warmed_counted_apart_and_end_with_the_warm_up(server: Server) -> None:
    name = 'atelier_rejections_total{model="text",reason="warm_up"}'
    before = server.metrics()
    assert before[name] > 0  # the launcher did it before it was ready
    nonce = server.workers()[0].environ()["ATELIER_NONCE"]
    assert warm_refusals(server.inference, ["text"], nonce, requests=64, seconds=60) == 0
    assert server.metrics()[name] == before[name]
