"""What callers may do to the one way in: refused or harmless, nothing behind it ends, and a neighbour is answered."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks.server import eventually
from serving.seal import listening
from tests.support.gateway_server import Front
from tests.support.raw_http import CLOSED, JSON, SILENT, Answer, Caller, ended, read, wire

pytestmark = pytest.mark.server

IMAGES, TEXTS, RAW = "/v1/images/generations", "/v1/completions", "/api/generate/tiny"
IMAGE, TEXT = {"model": "tiny", "prompt": "", "seed": 7}, {"model": "text", "prompt": "a", "max_tokens": 4, "seed": 7}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MANY = 150  # connections that are held at once
MEMORY = 64 << 20  # bytes by which the gateway may grow while it is attacked


def statuses(answers: Sequence[Answer]) -> set[str]:
    return {answer.status for answer in answers}


def at_once(count: int, caller: Caller, data: bytes) -> list[Answer]:
    """The answers to the same bytes, sent by that many callers again and again."""
    with ThreadPoolExecutor(16) as pool:
        return list(pool.map(lambda _: caller.raw(data, 60), range(count)))


@pytest.mark.parametrize("stop", [["\ud800"], "a\udfff", ["ok", "\ud83d"]])
@pytest.mark.parametrize("path", [TEXTS, "/api/generate/text"])
def test_half_a_surrogate_is_refused(front: Front, path: str, stop: Any) -> None:
    own = {**TEXT, "stop": stop} if path == TEXTS else {"prompt": "a", "stop": stop}
    with front.unshaken() as caller:
        answer = caller.ask(path, own)
        assert answer.status == "400"
        assert answer.error["type"] == "invalid_request_error"
        assert caller.ask(path, {**own, "stop": [], "prompt": "\ud800"}).status == "400"


@pytest.mark.parametrize("path", [IMAGES, TEXTS, RAW])
def test_forms_of_tens_of_thousands_of_fields(front: Front, path: str) -> None:
    with front.unshaken() as caller:
        answers = at_once(40, caller, wire(path, b"a&" * 100_000, FORM))
    assert statuses(answers) == {"415"}


@pytest.mark.parametrize("path", [IMAGES, TEXTS, RAW])
@pytest.mark.parametrize("piece", [b"{},", b"[", b'{"a":', b"1,", b'"\\u0000",'])
def test_bodies_that_would_cost_much(front: Front, path: str, piece: bytes) -> None:
    with front.unshaken() as caller:
        answers = at_once(30, caller, wire(path, b"[" + piece * (60_000 // len(piece)) + b"1]", JSON))
    assert statuses(answers) == {"400"}


def test_pipelined_requests_are_answered_in_order(front: Front) -> None:
    wanted = [front.caller.ask(RAW, {"seed": seed}).body for seed in range(4)]
    with front.unshaken() as caller, caller.connect(60) as connection:
        file = connection.makefile("rb")
        for _ in range(20):
            orders = b"".join(wire(RAW, {"seed": seed}) + wire("/healthz", method="GET") for seed in range(4))
            assert caller.send(connection, orders)
            for image in wanted:
                assert read(file).body == image
                assert json.loads(read(file).body) == {"status": "ok"}


def test_answers_that_nobody_reads_cost_bounded_memory(front: Front) -> None:
    order = wire("/api/models/tiny", method="GET")
    before = front.memory()
    with contextlib.ExitStack() as stack, front.unshaken() as caller:
        clients = [stack.enter_context(caller.connect(0.2, receive_buffer=4096)) for _ in range(8)]
        for _ in range(50):
            for client in clients:
                caller.send(client, order * 20)
        assert front.memory() - before < MEMORY
        eventually(lambda: ended(clients) == len(clients), 60, "connections that read nothing are kept")


OLD = [
    ("HTTP/1.0", None, {"400"}),  # said so, and not left without an answer
    ("HTTP/1.0", "localhost", {"200"}),
    ("HTTP/1.1", None, {"400"}),
    ("HTTP/1.1", "", {"400", "403", "421"}),
]


@pytest.mark.parametrize(("version", "host", "wanted"), OLD)
def test_old_requests_and_those_without_host_are_answered(
    front: Front, version: str, host: str | None, wanted: set[str]
) -> None:
    with front.unshaken() as caller:
        for path, method, body in (("/healthz", "GET", b""), (IMAGES, "POST", IMAGE)):
            answer = caller.ask(path, body, method=method, version=version, host=host)
            assert answer.status in wanted
            if version == "HTTP/1.0":
                assert "transfer-encoding" not in answer.headers
        assert caller.ask(IMAGES, b"[", version=version, host=host, headers=JSON).status in {"400", "403", "421"}


def test_a_connection_is_closed_where_that_is_asked_for(front: Front) -> None:
    with front.unshaken() as caller, caller.connect() as connection:
        file = connection.makefile("rb")
        caller.send(connection, wire(RAW, {"seed": 7}))
        assert read(file).status == "200"
        caller.send(connection, wire(RAW, {"seed": 7}, {"Connection": "close", **JSON}))
        answer = read(file)
        assert answer.status == "200"
        assert answer.headers["connection"] == "close"
        assert read(file).status == CLOSED


@pytest.mark.parametrize(
    "headers",
    [
        {"describe": "True"},
        {"explain": "True"},
        {"ts_stream_next": "true"},
        {"ts_request_sequence_id": "1"},
        {"url_path": "../../x"},
        {"X-Request-Id": "mine"},
        {"X-Atelier": "describe"},
        {"X-Atelier": "drain", "X-Atelier-Nonce": "0" * 32},
        {"X-Atelier": "hold"},
        {"X-Atelier": "PING"},
        {"x-atelier": ""},
        {"X-Atelier": "cancel", "X-Atelier-Id": "1"},
        {"X-Atelier-Id": "i" * 7000},
        {"X-Atelier-Caller": "somebody else"},
        {"X-Atelier-Deadline": "1"},
        {"X-Atelier-Timeout": "0"},
    ],
)
def test_words_of_what_is_behind_it_reach_nobody(front: Front, headers: Mapping[str, str]) -> None:
    wanted = front.caller.ask(RAW, {"seed": 7})
    assert wanted.status == "200"
    with front.unshaken() as caller:
        answer = caller.ask(RAW, {"seed": 7}, headers={**headers, **JSON})
    assert (answer.status, answer.body) == ("200", wanted.body)


def test_hundreds_of_held_calls_are_ordinary_requests(front: Front) -> None:
    data = wire(RAW, b" " * 50_000 + b"{}", {**JSON, "X-Atelier": "hold"})
    before = front.memory()
    with front.unshaken() as caller:
        answers = at_once(400, caller, data)
    assert statuses(answers) == {"200"}
    assert front.memory() - before < MEMORY


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1, evil", "[::2]"]
)
def test_a_foreign_host_is_refused(front: Front, host: str) -> None:
    with front.unshaken() as caller:
        for path in (IMAGES, RAW, "/api/models"):
            answer = caller.ask(path, IMAGE if path != "/api/models" else b"", host=host, method="POST")
            assert answer.status in {"403", "421", "400"}


def test_a_foreign_page_gets_nothing(front: Front) -> None:
    web = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    preflight = {**web, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    with front.unshaken() as caller:
        answers = [
            caller.ask(IMAGES, IMAGE, headers=web),
            caller.ask(IMAGES, b'{"model": "tiny", "prompt": ""}', headers={**web, "Content-Type": "text/plain"}),
            caller.ask(IMAGES, b"seed=7", headers={**web, **FORM}),
            caller.ask(IMAGES, b"", headers=preflight, method="OPTIONS"),
            caller.ask(IMAGES, b"", headers=web, method="GET"),
        ]
    assert statuses(answers) <= {"400", "403", "405", "415"}
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control-allow")]


def test_nothing_but_json_reaches_a_model(front: Front) -> None:
    body = json.dumps(IMAGE).encode()
    with front.unshaken() as caller:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml", "", "application/json5"):
            assert caller.ask(IMAGES, body, headers={"Content-Type": kind}).status == "415", kind


OTHER_DOORS = [
    "/predictions/tiny",
    "//predictions/tiny",
    "/predictions/%2e%2e/predictions/tiny",
    "/explanations/tiny",
    "/tiny/predict",
    "/models/tiny/invoke",
    "/invocations?model_name=tiny",
    "/v1/models/tiny:predict",
    "/wfpredict/x",
    "/models?url=http://127.0.0.1:1/evil.mar",
    "/models/tiny?min_worker=0",
    "/workflows?url=x.war",
    "/token?type=management",
    "/api-description",
    "/ping",
]


@pytest.mark.parametrize("path", OTHER_DOORS)
def test_other_doors_of_torchserve_are_not_there(front: Front, path: str) -> None:
    with front.unshaken() as caller:
        for method in ("POST", "PUT", "DELETE", "GET"):
            answer = caller.ask(path, b'{"seed":1}', headers=JSON, method=method)
            assert answer.status in {"404", "405"} or "query string" in answer.error["message"], (method, path, answer)


def test_torchserve_itself_is_out_of_reach(front: Front) -> None:
    """Whoever is on this machine finds no TCP port of the JVM, in whatever network it listens."""
    for port in set(listening(front.server.jvm().pid).values()):
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 10):
            pass
    for address in (front.server.inference, front.server.management):
        assert address.startswith("unix:")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(front: Front, method: str) -> None:
    with front.unshaken() as caller:
        answer = caller.ask(IMAGES, IMAGE, method=method)
    assert answer.status in {"405", "400", "501"}
    if answer.status == "405":
        assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({"Expect": "100-continue"}, {"200"}),
        ({"Expect": "tea"}, {"200", "417"}),
        ({"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AAMAAABkAAQC"}, {"200", "400"}),
        ({"Upgrade": "websocket", "Connection": "Upgrade"}, {"200", "400"}),
        ({"Content-Encoding": "gzip"}, {"400", "415"}),
        ({"Transfer-Encoding": "chunked"}, {"400"}),  # beside Content-Length: two readers would see two requests
        ({"Content-Length": "1"}, {"400"}),
    ],
)
def test_odd_headers_are_answered(front: Front, headers: Mapping[str, str], wanted: set[str]) -> None:
    with front.unshaken() as caller:
        assert caller.ask(IMAGES, IMAGE, headers={**headers, **JSON}).status in wanted


@pytest.mark.parametrize(
    "data", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), b"\x16\x03\x01" + bytes(200), b"\0" * 99]
)
def test_other_protocols_are_ended(front: Front, data: bytes) -> None:
    with front.unshaken() as caller:
        assert caller.raw(data).status in {"400", "505", "408", CLOSED}


LONG: dict[str, list[tuple[str, str]]] = {
    "one of 7,000": [("X-A", "a" * 7000)],
    "one of 200,000": [("X-A", "a" * 200_000)],
    "1,000 of no value": [(f"a{number}", "") for number in range(1000)],
    "30,000 of no value": [(f"a{number}", "") for number in range(30_000)],
    "a content type of 5,000": [("Content-Type", "application/json;" + "a" * 5000)],
    "two content types": [("Content-Type", "text/plain"), ("Content-Type", "application/json")],
    "no ASCII": [("X-A", "\u00e9\u00ff")],
}


@pytest.mark.parametrize("name", LONG)
def test_long_and_many_headers_have_a_limit(front: Front, name: str) -> None:
    given = LONG[name]
    headers = given if any(key == "Content-Type" for key, _ in given) else [*given, *JSON.items()]
    with front.unshaken() as caller:
        answers = at_once(20, caller, wire(RAW, {"seed": 7}, headers))
    assert statuses(answers) <= {"200", "400", "415", "431", CLOSED}
    if "200,000" in name or "30,000" in name:
        assert statuses(answers) <= {"400", "431", CLOSED}


def test_long_addresses_have_a_limit(front: Front) -> None:
    with front.unshaken() as caller:
        for size in (3000, 60_000, 300_000):
            assert caller.ask(f"{RAW}?{'a' * size}", {"seed": 7}).status in {"200", "400", "414", "431", CLOSED}


def test_odd_encodings_are_refused(front: Front) -> None:
    text = json.dumps({"seed": 7})
    odd = [text.encode(name) for name in ("utf-8-sig", "utf-16", "utf-16-le", "utf-32")]
    odd += [b'{"\xed\xa0\x80": 1}', b'{"seed": "\xed\xa0\x80"}', b"\xff" + text.encode(), text.encode() + b"\0"]
    odd += [b"\x1f\x8b\x08" + bytes(20), b"", b"NaN", b'{"seed": NaN}', b'{"seed": 1e999}', b'{"seed": 1, "seed": 2}']
    odd += [b'{"seed": ' + b"1" * 5000 + b"}", b'{"seed": "' + b"x" * 60_000 + b'"}', b'{"' + b"x" * 60_000 + b'": 1}']
    with front.unshaken() as caller:
        for body in odd:
            answer = caller.ask(RAW, body, headers=JSON)
            assert answer.status == "400", body[:40]
            assert len(answer.body) < 2000  # nobody gets back all that he sent


def test_callers_who_leave_at_once_leave_nothing_behind(front: Front) -> None:
    before = front.memory()
    long = {**TEXT, "max_tokens": 256, "stream": True}
    with front.unshaken() as caller:
        for _ in range(300):
            with caller.connect() as connection:
                caller.send(connection, wire(TEXTS, long))
        eventually(lambda: figure(front, "in_flight") == 0, 60, "the model still computes for those who left")
    assert front.memory() - before < MEMORY


def figure(front: Front, name: str) -> float:
    return float(front.server.control("text", "health").get(name, 0))


def test_a_small_request_is_answered_beside_the_widest(front: Front) -> None:
    wide = wire(RAW, {"seed": 1, "n": 16, "grid": True})
    with front.unshaken() as caller:
        answers = at_once(120, caller, wide)
    assert statuses(answers) == {"200"}


@pytest.mark.parametrize(
    ("path", "order"),
    [(RAW, {"seed": 1, "n": 16, "grid": True}), (TEXTS, {**TEXT, "max_tokens": 256, "stream": True})],
)
def test_those_who_read_nothing_are_ended(front: Front, path: str, order: Mapping[str, Any]) -> None:
    before = front.memory()
    with front.unshaken() as caller, caller.holding(MANY, wire(path, order), receive_buffer=4096) as held:
        assert front.memory() - before < MEMORY
        assert len(held) == MANY


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nX-A: ",
        b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n{",
        b"P",
    ],
)
def test_half_sent_requests_are_ended(front: Front, begun: bytes) -> None:
    with front.unshaken() as caller, caller.holding(MANY, begun) as held:
        assert caller.ask(RAW, {"seed": 7}).status == "200"
        eventually(lambda: ended(held) == MANY, 60, "half-sent requests are kept")


@pytest.mark.parametrize("body", [False, True])
def test_those_who_drip_are_ended(front: Front, body: bool) -> None:
    begun = wire(IMAGES, b"", {**JSON})[:-4].replace(b"Content-Length: 0", b"X-A: ")
    if body:
        begun = begun.replace(b"X-A: ", b"Content-Length: 100000\r\n\r\n")
    with front.unshaken() as caller, caller.holding(MANY, begun) as held:

        def all_ended() -> bool:
            for connection in held:
                connection.setblocking(True)
                with contextlib.suppress(OSError):
                    connection.sendall(b"a")
            time.sleep(0.1)
            return ended(held) == MANY

        eventually(all_ended, 90, "those who send a byte now and then are kept")


def test_silence_is_no_request(front: Front) -> None:
    with front.unshaken() as caller, caller.holding(MANY, b"") as held:
        eventually(lambda: ended(held) == MANY, 60, "silent connections are kept")
        assert SILENT not in statuses([caller.ask("/healthz", method="GET")])
