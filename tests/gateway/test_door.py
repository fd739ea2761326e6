"""What every request goes through, and what becomes of those who leave, wait, or say what they may not."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gateway.edge import Exchange
from tests.gateway.conftest import Gateway, Reply, eventually, settings_for
from tests.gateway.plain import ASK, plainly
from tests.gateway.raw import connected, head_of, request, to_the_end
from tests.support.fake_upstream import FakeUpstream, refused
from tests.support.fake_upstream import Reply as FakeReply


@pytest.fixture
def door(fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with plainly(settings_for(fake, tmp_path), monkeypatch) as made:
        yield made


@pytest.mark.parametrize(("model", "document"), [("drawn", {"seed": 7}), ("chat", {**ASK, "stream": True})])
def test_who_leaves_has_its_work_cancelled(
    door: Gateway, fake: FakeUpstream, model: str, document: dict[str, object]
) -> None:
    fake.hold()
    with connected(door.port) as connection:
        connection.sendall(request(f"/plain/{model}", document, "Authorization: Bearer k1"))
        eventually(lambda: fake.running == 1, 30, "the model was not asked")
        if "stream" in document:
            assert head_of(connection)[0] == 200
    eventually(lambda: len(fake.cancelled) == 1, 30, "nothing was cancelled")
    assert fake.cancelled == [("k1", fake.asked[0].headers["x-atelier-id"])]
    assert fake.raw[-1]["x-atelier"] == "cancel"
    eventually(lambda: fake.running == 0, 30, "the work goes on")
    eventually(lambda: door.state.upstream.turns(model).held == 0, 30, "its place is still held")
    eventually(lambda: door.state.metrics.left._value.get() == 1, 30, "nobody counted it")


def test_who_leaves_while_waiting_never_gets_to_the_model(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.hold()
    with plainly(settings_for(fake, tmp_path, in_flight=1), monkeypatch) as door:
        turns = door.state.upstream.turns("drawn")
        with connected(door.port) as first:
            first.sendall(request("/plain/drawn", {"seed": 1}))
            eventually(lambda: fake.running == 1, 30, "the model was not asked")
            with connected(door.port) as second:
                second.sendall(request("/plain/drawn", {"seed": 2}))
                eventually(lambda: turns.waiting == 1, 30, "it does not wait")
            eventually(lambda: turns.waiting == 0, 30, "it still waits")
            fake.release()
            assert head_of(first)[0] == 200
    assert [asked.params for asked in fake.asked] == [{"seed": 1}]
    assert not fake.cancelled


def test_our_own_words_from_outside_never_reach_upstream(door: Gateway, fake: FakeUpstream) -> None:
    given = {
        "X-Atelier": "describe",
        "X-Atelier-Id": "mine",
        "x-atelier-caller": "somebody",
        "X-ATELIER-TIMEOUT": "0.001",
        "X-Atelier-Deadline": "1",
        "X-Atelier-Nonce": "n",
    }
    answer = door.post("/plain/drawn", {"seed": 7}, headers=given)
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    (asked,) = fake.asked
    words = {name: value for name, value in asked.headers.items() if name.startswith("x-atelier")}
    assert set(words) == {"x-atelier-id", "x-atelier-caller", "x-atelier-timeout"}
    assert words["x-atelier-id"] != "mine"
    assert words["x-atelier-id"].startswith(answer.headers["x-request-id"])
    assert words["x-atelier-caller"] == "anybody"
    assert float(words["x-atelier-timeout"]) > 50


def test_a_full_queue_is_a_503_that_says_when(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.hold()
    with (
        plainly(settings_for(fake, tmp_path, in_flight=1, waiting=1), monkeypatch) as door,
        ThreadPoolExecutor() as pool,
    ):
        turns = door.state.upstream.turns("drawn")
        first = pool.submit(door.post, "/plain/drawn", {"seed": 1})
        eventually(lambda: turns.held == 1, 30, "it is not asked")
        second = pool.submit(door.post, "/plain/drawn", {"seed": 2})
        eventually(lambda: turns.waiting == 1, 30, "it does not wait")
        full = door.post("/plain/drawn", {"seed": 3})
        assert (full.status, full.json["error"]["code"]) == (503, "overloaded")
        assert full.headers["retry-after"] in ("1", "2")
        assert full.json["error"]["type"] == "server_error"
        assert "x-should-retry" not in full.headers
        fake.release()
        assert (first.result().status, second.result().status) == (200, 200)


def test_one_caller_s_flood_does_not_keep_another_waiting(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.hold()
    settings = settings_for(fake, tmp_path, in_flight=1, waiting=4)
    with plainly(settings, monkeypatch) as door, ThreadPoolExecutor(16) as pool:
        turns = door.state.upstream.turns("drawn")

        def send(key: str, seed: int) -> Reply:
            return door.post("/plain/drawn", {"seed": seed}, headers={"Authorization": f"Bearer {key}"})

        flood = []
        for seed in range(5):
            flood.append(pool.submit(send, "many", seed))
            eventually(lambda at=seed: turns.held + turns.waiting == at + 1, 30, "it does not wait")  # type: ignore[misc]
        other = pool.submit(send, "one", 100)
        pushed_out = flood[-1].result()
        assert (pushed_out.status, pushed_out.json["error"]["code"]) == (503, "overloaded")
        fake.release()
        assert [done.result().status for done in [*flood[:4], other]] == [200] * 5
    order = [asked.params["seed"] for asked in fake.asked]
    assert order.index(100) <= 2, f"it waited behind the flood: {order}"


def test_upstream_vanishes_and_comes_back(door: Gateway, fake: FakeUpstream) -> None:
    assert door.post("/plain/drawn", {"seed": 7}).status == 200
    fake.stop()
    gone = door.post("/plain/drawn", {"seed": 7})
    assert (gone.status, gone.json["error"]["code"]) == (503, "overloaded")
    assert int(gone.headers["retry-after"]) >= 1
    assert door.get("/healthz").status == 200
    fake.start()
    assert door.post("/plain/drawn", {"seed": 7}).status == 200


def test_upstream_that_dies_under_a_request_costs_that_request(door: Gateway, fake: FakeUpstream) -> None:
    fake.hold()
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(door.post, "/plain/drawn", {"seed": 7})
        eventually(lambda: fake.running == 1, 30, "the model was not asked")
        fake.models["drawn"].reply = None
        threading.Thread(target=fake.die).start()
        answer = lost.result()
    assert answer.status == 503
    assert "went away under the request" in answer.json["error"]["message"]
    fake.start()
    assert door.post("/plain/drawn", {"seed": 7}).status == 200


def test_a_stream_that_breaks_says_so_at_its_end(door: Gateway, fake: FakeUpstream) -> None:
    fake.models["chat"].reply = lambda _: FakeReply(
        [b"data: one\n\n", b"data: two\n\n"], "text/event-stream", breaks=True
    )
    answer = door.post("/plain/chat", {**ASK, "stream": True})
    assert answer.status == 200
    assert answer.body.endswith(b"data: model chat broke off its answer; send the request again\n\n")
    assert answer.headers["x-accel-buffering"] == "no"


def test_an_error_before_the_first_piece_has_its_status(door: Gateway, fake: FakeUpstream) -> None:
    fake.models["chat"].reply = lambda _: refused(400, "the source is too long", "messages")
    answer = door.post("/plain/chat", {**ASK, "stream": True})
    assert answer.status == 400
    assert answer.json == {
        "error": {
            "message": "the source is too long",
            "type": "invalid_request_error",
            "param": "messages",
            "code": None,
        }
    }


def test_an_answer_over_the_model_s_limit_is_refused(door: Gateway, fake: FakeUpstream) -> None:
    fake.models["drawn"].reply = lambda _: FakeReply([bytes((16 << 20) + 1)], "image/png")
    answer = door.post("/plain/drawn", {"seed": 7})
    assert answer.status == 502
    assert "the answer of model drawn is over 16777216 bytes" in answer.json["error"]["message"]


def test_what_nobody_foresaw_is_a_500_that_is_not_tried_again(door: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(door.state.models, "get", broken)
    answer = door.post("/plain/drawn", {"seed": 7})
    assert answer.status == 500
    assert answer.headers["x-should-retry"] == "false"
    assert answer.json["error"]["type"] == "server_error"
    assert "secret" not in answer.body.decode()


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("GET", "/nothing", 404, "there is nothing at this path; /docs and /openapi.json list what there is"),
        ("GET", "/plain/drawn", 405, "this path takes POST"),
        ("POST", "/plain/drawn?seed=7", 400, "query string"),
        ("POST", "/v1/audio/voices?model=digits", 405, "this path takes"),
        ("POST", "/plain/nothing", 404, "there is no model 'nothing'; there is altered, chat, digits, drawn"),
    ],
)
def test_wrong_ways(door: Gateway, method: str, path: str, status: int, told: str) -> None:
    answer = door.ask(method, path, {} if method == "POST" else None)
    assert answer.status == status
    assert told in answer.json["error"]["message"]
    assert len(answer.headers["x-request-id"]) == 32
    if status == 405:
        assert answer.headers["allow"] in ("POST", "GET, HEAD", "HEAD, GET")


def test_every_answer_carries_the_security_headers(door: Gateway) -> None:
    for path in ("/healthz", "/nothing"):
        headers = door.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "server" not in headers


def test_pipelined_requests_are_answered_in_order(door: Gateway) -> None:
    with connected(door.port) as connection:
        first, last = (request(f"/nothing/{name}", None, f"Connection: {name}") for name in ("keep-alive", "close"))
        connection.sendall(first + request("/healthz", method="GET") + last)
        answers = to_the_end(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"404", b"200", b"404"]


def test_no_route_sees_our_own_words_from_outside() -> None:
    given = [(b"host", b"localhost"), (b"x-atelier", b"cancel"), (b"x-atelier-id", b"1"), (b"accept", b"image/png")]
    scope: dict[str, Any] = {"type": "http", "headers": given}
    edge: Any = SimpleNamespace(app=None)
    sent: Any = None
    Exchange(edge, scope, sent)
    assert scope["headers"] == [(b"host", b"localhost"), (b"accept", b"image/png")]
