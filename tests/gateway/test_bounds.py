"""Connections that stop in the middle, read nothing, send too much, or are too many."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.server import allow_files
from gateway.settings import Settings, SettingsError
from gateway.spool import MAX_FILES
from gateway.upstream import MAX_CONNECTIONS
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.plain import plainly
from tests.gateway.raw import answer_of, connected, ended, head_of, many, request, to_the_end
from tests.support.fake_replies import Reply
from tests.support.fake_upstream import FakeUpstream

HALF_A_HEAD = b"POST /plain/drawn HTTP/1.1\r\nHost: localhost\r\nX-A: b"
HALF_A_BODY = request("/plain/drawn", {"seed": 7}, length=1000)


def count(gateway: Gateway, name: str) -> float:
    """A counter of connections that a bound has ended."""
    return float(gateway.state.metrics.ended.labels(name)._value.get())


@pytest.mark.parametrize(
    ("sent", "bound", "told"),
    [
        (HALF_A_HEAD, "head_seconds", "head did not come in time"),
        (HALF_A_BODY, "body_seconds", "body did not come in time"),
    ],
)
def test_half_sent_requests_stop_nobody_and_are_ended(
    sent: bytes, bound: str, told: str, fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(fake, tmp_path, header_seconds=1, body_seconds=1)
    with plainly(settings, monkeypatch) as gateway, many(gateway.port, 150, sent) as connections:
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200
        status, headers, rest = head_of(connections[0])
        assert (status, headers["connection"]) == (408, "close")
        assert told in (rest + to_the_end(connections[0])).decode()
        eventually(lambda: all(ended(connection) for connection in connections[1:]), 30, "some were not ended")
        assert count(gateway, bound) == 150
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200


def test_connections_that_ask_nothing_are_ended(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        plainly(settings_for(fake, tmp_path, header_seconds=1), monkeypatch) as gateway,
        many(gateway.port, 3, b"") as connections,
    ):
        eventually(lambda: all(ended(connection) for connection in connections), 30, "some were not ended")


def test_a_body_that_comes_after_its_answer_leaves_a_connection_that_ends(fake: FakeUpstream, tmp_path: Path) -> None:
    with running(settings_for(fake, tmp_path, idle_seconds=1)) as gateway, connected(gateway.port) as connection:
        connection.sendall(request("/nothing", length=5))
        assert answer_of(connection)[0] == 404
        connection.sendall(b"hello" + request("/healthz", method="GET"))
        assert answer_of(connection)[0] == 200
        connection.sendall(request("/nothing", length=5))
        assert answer_of(connection)[0] == 404
        connection.sendall(b"hello")
        eventually(lambda: ended(connection), 30, "the idle connection is kept")


def test_a_body_that_does_not_come_after_its_answer_ends_its_connection(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.bounds.LINGER_SECONDS", 0.5)
    with connected(gateway.port) as connection:
        connection.sendall(request("/nothing", length=5))
        assert answer_of(connection)[0] == 404
        eventually(lambda: ended(connection), 30, "the connection is kept")


def test_a_slow_body_is_read_whole(fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body may take its time beyond the seconds, as long as it goes on at a kilobyte a second."""
    with plainly(settings_for(fake, tmp_path), monkeypatch) as gateway, connected(gateway.port) as slow:
        whole = request("/plain/drawn", {"seed": 7})
        for at in range(0, len(whole), 10):
            slow.sendall(whole[at : at + 10])
        assert head_of(slow)[0] == 200


def test_a_head_without_end_is_refused(fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with plainly(settings_for(fake, tmp_path), monkeypatch) as gateway, connected(gateway.port) as connection:
        connection.sendall(HALF_A_HEAD + b"a" * 100_000)
        status, _, rest = head_of(connection)
        assert status == 431
        assert b"head is over 65536 bytes" in rest + to_the_end(connection)


CHUNKED = b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("trailers", [b"a:b\r\n" * 14_000, b"a: " + b"b" * 70_000])
def test_trailers_without_end_are_refused(gateway: Gateway, trailers: bytes) -> None:
    with connected(gateway.port) as connection:
        connection.sendall(CHUNKED % b"/api/generate/drawn" + b"2\r\n{}\r\n0\r\n")
        eventually(lambda: gateway.state.in_hand.requests == 1, 20, "it did not come")
        connection.sendall(trailers)
        status, headers, rest = head_of(connection)
        assert (status, headers["connection"]) == (431, "close")
        assert b"over 65536 bytes around its body" in rest + to_the_end(connection)
    assert count(gateway, "trailer_bytes") == 1


def test_trailers_after_an_answer_end_its_connection(gateway: Gateway) -> None:
    with connected(gateway.port) as connection:
        connection.sendall(CHUNKED % b"/nothing" + b"2\r\n{}\r\n0\r\n")
        assert answer_of(connection)[0] == 404
        connection.sendall(b"a:b\r\n" * 20_000)
        assert to_the_end(connection) == b""  # no second answer


def test_a_body_in_the_smallest_chunks_is_read_whole(gateway: Gateway) -> None:
    body = b'{"seed": 7}' + b" " * 30_000
    with connected(gateway.port) as connection:
        connection.sendall(CHUNKED % b"/api/generate/drawn")
        connection.sendall(b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert head_of(connection)[0] == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused_in_the_usual_shape(gateway: Gateway, sent: bytes) -> None:
    with connected(gateway.port) as connection:
        connection.sendall(sent)
        status, headers, rest = head_of(connection)
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(rest + to_the_end(connection))["error"] == {
            "message": "this is no HTTP/1.1 that can be read",
            "type": "invalid_request_error",
            "param": None,
            "code": "not_http",
        }


def test_the_oldest_idle_connection_gives_way(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        plainly(settings_for(fake, tmp_path, connections=10), monkeypatch) as gateway,
        many(gateway.port, 10, HALF_A_HEAD) as connections,
    ):
        eventually(lambda: gateway.state.metrics.connections._value.get() == 10, 30, "they did not all come")
        assert gateway.post("/plain/drawn", {"seed": 7}).status == 200
        status, headers, rest = head_of(connections[0])
        assert (status, headers["retry-after"]) == (503, "1")
        assert b"as many connections as it takes" in rest + to_the_end(connections[0])
        assert not any(ended(connection) for connection in connections[1:])


def test_where_all_are_busy_the_newcomer_is_turned_away(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.hold()
    with (
        plainly(settings_for(fake, tmp_path, connections=3), monkeypatch) as gateway,
        many(gateway.port, 3, request("/plain/drawn", {"seed": 7})) as connections,
    ):
        eventually(lambda: fake.running == 3, 30, "the three were not asked")
        assert gateway.get("/healthz").status == 503
        fake.release()
        assert [head_of(connection)[0] for connection in connections] == [200] * 3


def test_who_does_not_read_is_ended_and_holds_a_bounded_part(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of 64 MB that nobody reads stops at upstream, not in the gateway."""
    sent = []

    def pieces() -> Reply:
        class Endless(list[bytes]):
            def __len__(self) -> int:
                return 64

            def __iter__(self):  # type: ignore[no-untyped-def]
                for _ in range(64):
                    sent.append(1)
                    yield bytes(1 << 20)

        return Reply(Endless(), "application/octet-stream")

    fake.models["drawn"].document["limits"]["max_response_bytes"] = 1 << 30
    fake.models["drawn"].reply = lambda _: pieces()
    settings = settings_for(fake, tmp_path, send_seconds=1)
    with plainly(settings, monkeypatch) as gateway, connected(gateway.port, receive_buffer=4096) as connection:
        connection.sendall(request("/plain/drawn", {"stream": True}))
        eventually(lambda: count(gateway, "send_seconds") == 1, 30, "the reader was not ended")
        assert len(sent) < 20
        eventually(lambda: len(fake.cancelled) == 1, 30, "the work was not cancelled")


def test_a_large_answer_to_a_slow_reader_is_whole(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = bytes(range(256)) * 16_384
    fake.models["drawn"].reply = lambda _: Reply([body], "image/png")
    with (
        plainly(settings_for(fake, tmp_path), monkeypatch) as gateway,
        connected(gateway.port, receive_buffer=4096) as connection,
    ):
        connection.sendall(request("/plain/drawn", {}, "Connection: close"))
        _, headers, rest = head_of(connection)
        assert headers["content-length"] == str(len(body))
        assert rest + to_the_end(connection) == body


def test_unread_answers_of_all_callers_have_a_bound(
    fake: FakeUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.edge.MAX_HELD", 10 << 20)
    fake.models["drawn"].reply = lambda _: Reply([bytes(8 << 20)], "image/png")
    with (
        plainly(settings_for(fake, tmp_path), monkeypatch) as gateway,
        connected(gateway.port, receive_buffer=4096) as slow,
    ):
        slow.sendall(request("/plain/drawn", {}, "Connection: close"))
        head_of(slow)
        refused = gateway.post("/plain/drawn", {})
        assert (refused.status, refused.json["error"]["code"]) == (503, "overloaded")
        assert "callers who read slowly" in refused.json["error"]["message"]
        to_the_end(slow)
        eventually(lambda: gateway.post("/plain/drawn", {}).status == 200, 30, "what was read is still counted")


@pytest.mark.parametrize(("allowed", "most"), [(700, 126), (4000, 2528)])
def test_connections_and_their_uploads_have_descriptors(
    allowed: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[int, int]] = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (64, allowed))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: given.append(limits))
    with pytest.raises(SettingsError, match=rf"connections is {most + 1}, .* wanted at most {most},"):
        allow_files(Settings(connections=most + 1))
    allow_files(Settings(connections=most))
    ((soft, hard),) = given
    assert hard == allowed
    assert soft >= most + min(most, MAX_FILES) + MAX_CONNECTIONS
