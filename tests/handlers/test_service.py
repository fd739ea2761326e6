"""Calls in, frames out, through the real engine process: nothing raises, nobody suffers for a neighbour, headers hold no
text of a user's."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from benchmarks.sabotage import SLOW, SLOW_SECONDS
from benchmarks.server import eventually
from handlers import service as services
from handlers import torchserve_handler
from handlers.answers import DESCRIBE_FORMAT
from handlers.bundle import BundleError
from handlers.service import AsyncWorker, archived_bundle
from handlers.wire import STREAM, Call
from serving.tryout import decode_receipt
from tests.conftest import ROOT, Tiny
from tests.frontend import JSON, FrontEnd, Reply, decode, front_end
from tests.handlers.helpers import message, rewritten

GRPC = {"content-type": "application/json"}  # what comes over gRPC has no Host
SECRET = "geheimes Wort\r\nX-Secret: 1 €"
LONG = {"temperature": 0, "seed": 1, "max_tokens": 1024}
SLOWLY = {"temperature": 0, "seed": SLOW, "stream": True}  # of an engine that misbehaves: one byte in SLOW_SECONDS


@pytest.fixture(scope="module")
def image(tiny: Tiny) -> Iterator[FrontEnd]:
    with front_end(tiny.bundle) as front:
        yield front


@pytest.fixture(scope="module")
def text(tiny_text: Tiny) -> Iterator[FrontEnd]:
    with front_end(tiny_text.bundle) as front:
        yield front


@pytest.fixture(scope="module")
def small(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnd]:
    """One slot and one place to wait; answers of at most 3,000 bytes."""
    bundle = rewritten(tiny.bundle, tmp_path_factory.mktemp("small"), max_slots=1, max_queue=1, max_response_bytes=3000)
    with front_end(bundle) as front:
        yield front


@contextmanager
def stopped(front: FrontEnd) -> Iterator[None]:
    """The engine stands still inside: what is sent stays where it is."""
    pid = front.service.engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def health(front: FrontEnd) -> Any:
    return json.loads(front.ask(b"{}", x_atelier="health").body)


def listened(front: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str, dict[str, str], bytes]]:
    """Every frame that is written from now on."""
    frames: list[tuple[str, int, str, dict[str, str], bytes]] = []
    write = front.service.write

    def spy(data: bytes) -> None:
        frames.extend(decode(data))
        write(data)

    monkeypatch.setattr(front.service, "write", spy)
    return frames


@pytest.mark.parametrize(
    ("body", "headers", "status", "text_of_it"),
    [
        (b"", {}, 400, "the body is empty; send at least {}: curl -H 'Content-Type: application/json'"),
        (b"  \n", {}, 400, "the body is empty"),
        (None, {}, 400, "the body is empty"),
        (b'{"seed":', {}, 400, "the body is not valid JSON (Expecting value)"),
        (b'{"seed": NaN}', {}, 400, "the body holds NaN, which is not JSON; use a finite number"),
        (b'{"seed": -Infinity}', {}, 400, "the body holds -Infinity"),
        (b'{"seed": 1, "seed": 2}', {}, 400, "the body names a field twice"),
        (b'{"\xff": 1}', {}, 400, "the body is not valid JSON (UnicodeDecodeError)"),
        (b"[" * 60_000, {}, 400, "the body is not valid JSON (RecursionError)"),
        (b"null", {}, 400, "the body is null, wanted a JSON object"),
        (b'"x"', {}, 400, 'the body is "x", wanted a JSON object'),
        (b'{"seed": true}', {}, 400, "seed is a boolean (true), wanted an integer"),
        (b'{"n": 99}', {}, 400, "n is 99, wanted an integer from 1 to 16"),
        (b'{"steps": 1}', {}, 400, 'unknown field "steps"; known fields: seed, n'),
        (b'{"x": "' + b"a" * 70_000 + b'"}', {}, 413, "the body has 70009 bytes, tiny takes at most 65536"),
        (b"seed=7", {"content_type": "application/x-www-form-urlencoded"}, 415, "parameters are a JSON object sent as"),
        (None, {"content_type": ""}, 415, "(a form or a query string would lose them); use: curl -H"),
        (b"{}", {"x_atelier": "dance"}, 400, "unknown value of the header X-Atelier; known: ping, describe, health"),
        (b"{}", {"x_atelier_deadline": "soon"}, 400, "X-Atelier-Deadline wants seconds since the epoch"),
        (b"{}", {"x_atelier_deadline": "nan"}, 400, "X-Atelier-Deadline wants seconds since the epoch"),
        (b"{}", {"x_atelier_deadline": "1000.5"}, 504, "the deadline had passed when the request came"),
        (b"{}", {"x_atelier_deadline": "-inf"}, 504, "the deadline had passed when the request came"),
        (b"{}", {"x_atelier": "cancel"}, 404, "no request of that X-Atelier-Id is waiting or being computed"),
        (b"{}", {"x_atelier": "cancel", "x_atelier_id": "?"}, 404, "no request of that X-Atelier-Id is waiting"),
    ],
)
def test_bad_items(image: FrontEnd, body: bytes | None, headers: dict[str, str], status: int, text_of_it: str) -> None:
    reply = image.ask(body, {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}})
    assert reply.status == status
    assert text_of_it in reply.message
    assert reply.content_type == "application/json"
    assert not reply.headers.keys() & {"X-Atelier-Receipt", "Retry-After"}
    assert len(reply.pieces) == 1


def test_a_refusal_names_the_field(image: FrontEnd) -> None:
    bodies = [json.loads(reply.body) for reply in image.ask_all([{"n": 99}, b"[]", {"seed": "x"}])]
    assert [body["field"] for body in bodies] == ["n", None, "seed"]
    assert {body["type"] for body in bodies} == {"BadRequest"}


def test_a_bad_item_does_not_touch_its_neighbours(image: FrontEnd) -> None:
    alone = image.ask({"seed": 3})
    replies = image.ask_all([b"[", {"seed": 3}, {"seed": "x"}, {"seed": 3}])
    assert [reply.status for reply in replies] == [400, 200, 400, 200]
    assert replies[1].body == replies[3].body == alone.body


def test_charset_and_case_of_the_content_type_do_not_matter(image: FrontEnd) -> None:
    assert image.ask({"seed": 1}, content_type="Application/JSON; charset=utf-8").status == 200


def test_the_same_request_gives_the_same_image(image: FrontEnd) -> None:
    replies = image.ask_all([{"seed": seed} for seed in (7, 8, 7, 9) * 8])
    bodies = [reply.body for reply in replies]
    assert bodies == bodies[:4] * 8
    assert bodies[0] == bodies[2]
    assert len(set(bodies)) == 3
    with Image.open(io.BytesIO(bodies[0])) as picture:
        assert picture.size == (16, 16)


def test_the_same_request_gives_the_same_text(text: FrontEnd) -> None:
    replies = text.ask_all([{"seed": seed, "temperature": 1.0} for seed in (7, 8, 7, 9) * 10])
    bodies = [reply.body for reply in replies]
    assert {reply.status for reply in replies} == {200}
    assert bodies == bodies[:4] * 10
    assert len(set(bodies)) == 3
    assert json.loads(bodies[0])["seed"] == 7


def test_answers_are_streams_that_end_with_an_empty_frame(image: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = listened(image, monkeypatch)
    reply = image.ask({"seed": 1})
    assert [(status, headers[STREAM]) for _, status, _, headers, _ in frames] == [(200, "true"), (200, "false")]
    assert [body for *_, body in frames] == [reply.body, b""]
    assert (reply.content_type, frames[1][2]) == ("image/png", "")
    assert "X-Atelier-Receipt" not in frames[1][3]


@pytest.mark.parametrize("body", [b"[", b'{"n": 99}'])  # refused by the proxy, and by the engine
def test_an_error_is_a_plain_frame_and_the_ending_frame(
    image: FrontEnd, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    frames = listened(image, monkeypatch)
    assert image.ask(body).status == 400
    assert [(status, headers.get(STREAM)) for _, status, _, headers, _ in frames] == [(400, None), (200, "false")]
    assert frames[1][4] == b""


@pytest.mark.parametrize(
    ("body", "status"), [({"seed": 1}, 200), ({"seed": 1, "n": 2}, 200), (b"[", 400), ({"n": 99}, 400)]
)
def test_a_call_over_grpc_gets_exactly_one_frame(
    image: FrontEnd, monkeypatch: pytest.MonkeyPatch, body: Any, status: int
) -> None:
    wanted = image.ask(body)
    frames = listened(image, monkeypatch)
    reply = image.ask(body, GRPC)
    ((_, found, _, headers, data),) = frames
    assert (found, headers[STREAM], data) == (status, "false", wanted.body)
    assert reply.ended


def documents(reply: Reply) -> list[Any]:
    """The events of a stream that came to its end."""
    *events, done, nothing = reply.body.decode().split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def text_of(reply: Reply) -> str:
    whole = [json.loads(reply.body)] if reply.content_type == "application/json" else documents(reply)
    return "".join(document["choices"][0]["text"] for document in whole)


def newest(front: FrontEnd) -> Reply:
    """What has come so far for the call that was sent last."""
    return list(front._replies.values())[-1][0]


def test_a_streamed_text_over_grpc_comes_in_one_frame(text: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = text.ask(LONG)
    frames = listened(text, monkeypatch)
    reply = text.ask({**LONG, "stream": True}, GRPC)
    assert text_of(reply) == text_of(wanted)
    assert [headers[STREAM] for _, _, _, headers, _ in frames] == ["false"]


def test_a_stream_says_the_same_as_the_whole(text: FrontEnd) -> None:
    reply, whole = text.ask({**LONG, "stream": True}), text.ask(LONG)
    assert (reply.content_type, whole.content_type) == ("text/event-stream; charset=utf-8", "application/json")
    assert text_of(reply) == text_of(whole)
    usage = {"prompt_tokens": 0, "completion_tokens": 1024, "total_tokens": 1024}
    assert documents(reply)[-1]["usage"] == json.loads(whole.body)["usage"] == usage
    assert len(whole.pieces) == 1


@pytest.mark.usefixtures("faulty_engine")
def test_a_stream_comes_as_it_is_written(tiny_text: Tiny) -> None:
    with front_end(tiny_text.bundle) as front:
        reply = front.ask({**SLOWLY, "max_tokens": 4})
    assert len(reply.pieces) == 4
    assert reply.pieces[0].count(b"data: ") == 1
    assert len(json.loads(reply.pieces[0].removeprefix(b"data: "))["choices"][0]["text"]) == 1
    assert reply.times[-1] - reply.times[0] > 2 * SLOW_SECONDS  # the first was read long before the last was written
    assert len(documents(reply)) == 5


@pytest.mark.usefixtures("faulty_engine")
def test_short_texts_overtake_long_ones(tiny_text: Tiny) -> None:
    with front_end(tiny_text.bundle) as front:
        long = front.send(SLOWLY)
        begun = newest(front)
        eventually(lambda: bool(begun.pieces), 10, "no first piece came")
        assert front.ask({**LONG, "max_tokens": 2}).status == 200
        assert not long.done()


def test_more_texts_than_slots_are_all_answered(text: FrontEnd) -> None:
    replies = text.ask_all([{"seed": seed, "max_tokens": 20} for seed in range(90)])
    assert {reply.status for reply in replies} == {200}


def test_receipts_tell_how_to_make_the_answer_again(image: FrontEnd, tiny: Tiny) -> None:
    reply = image.ask({"n": 2, "format": "jpeg"})
    value = reply.headers["X-Atelier-Receipt"]
    assert len(value) <= 4096
    assert value.isascii()
    receipt = decode_receipt(value)
    assert receipt["model"] == "tiny"
    assert receipt["bundle"] == tiny.bundle.digest
    assert receipt["version"] == tiny.bundle.version
    assert receipt["candidate"] == {"generator": "generator-fp32-onnxruntime"}
    assert "onnxruntime-" in receipt["fingerprint"]
    assert receipt["why"].startswith("chosen for ")
    assert receipt["params"].keys() == {"seed", "n", "truncation", "format", "quality", "grid"}
    assert image.ask(receipt["params"]).body == reply.body


@pytest.mark.parametrize("stream", [False, True])
def test_headers_hold_no_text_of_a_users(text: FrontEnd, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    frames = listened(text, monkeypatch)
    reply = text.ask({"prompt": SECRET, "max_tokens": 5, "seed": 1, "stream": stream})
    assert reply.status == 200
    receipt = decode_receipt(reply.headers["X-Atelier-Receipt"])
    assert re.fullmatch("[0-9a-f]{64}", receipt["params"]["prompt"]["sha256"])
    assert "geheim" not in json.dumps(receipt)
    for _, _, content_type, headers, _ in frames:
        for value in (content_type, *headers, *headers.values()):
            assert value.isascii() and value.isprintable()
            assert "geheim" not in value


def test_a_refusal_shows_what_was_sent_in_its_body_alone(image: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = listened(image, monkeypatch)
    reply = image.ask({"seed": SECRET})
    assert reply.status == 400
    assert "geheim" in reply.message
    assert "geheim" not in str([frame[:4] for frame in frames])


def test_describe_is_the_golden_document(image: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    """tests/golden/describe.json is what a gateway may rely on: its shape changes only with DESCRIBE_FORMAT."""
    reply = image.ask(b"{}", x_atelier="describe")
    frames = listened(image, monkeypatch)
    assert image.ask(None, {}, describe="True").body == reply.body  # TorchServe's own way of asking
    assert [frame[3] for frame in frames] == [{STREAM: "false"}]  # and it takes one frame
    document = json.loads(reply.body)
    assert document["format"] == DESCRIBE_FORMAT
    golden = json.loads((ROOT / "tests/golden/describe.json").read_text())
    assert document["certificate"].keys() == golden["certificate"].keys()
    del document["certificate"], golden["certificate"]  # its contents are whatever was measured
    assert shape(document) == shape(golden)
    for key in ("params", "content_types", "limits", "scope", "kind", "lane"):
        assert document[key] == golden[key], key


def shape(value: Any) -> Any:
    """Keys and types of a JSON document; lists by their first element, maps with free keys by their values."""
    if isinstance(value, dict):
        free = any(" " in key or "-" in key for key in value)
        return {"*": shape(next(iter(value.values())))} if free else {k: shape(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__ if not isinstance(value, (int, float)) or isinstance(value, bool) else "number"


def test_ping_is_answered_while_the_engine_stands_still(image: FrontEnd) -> None:
    with stopped(image):
        assert json.loads(image.ask(None, {"host": "x"}, x_atelier="ping").body) == {"status": "ok"}


def test_health_tells_figures(image: FrontEnd) -> None:
    reply = image.ask(b"{}", x_atelier="health")
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "engine": "ready",
        "reason": "the engine is open",
        "restarts": 0,
        "in_flight": 0,
        "queued": 0,
        "queued_seconds": 0.0,
    }
    with stopped(image):
        waiting = [image.send({"seed": seed}) for seed in range(3)]
        assert health(image)["in_flight"] == 3
    assert {future.result(20).status for future in waiting} == {200}


def test_held_calls_are_answered_at_release(image: FrontEnd) -> None:
    held = [image.send(b"{}", x_atelier="hold") for _ in range(3)]
    assert json.loads(image.ask(b"{}", x_atelier="ping").body) == {"status": "ok"}
    assert not any(future.done() for future in held)
    assert json.loads(image.ask(b"{}", x_atelier="release").body) == {"released": 3}
    assert {future.result(5).body for future in held} == {b"{}"}
    assert json.loads(image.ask(b"{}", x_atelier="release").body) == {"released": 0}


def test_held_calls_are_answered_by_themselves_after_a_while(image: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "HOLD_SECONDS", 0.05)
    assert image.ask(b"{}", x_atelier="hold").status == 200


def test_drained_it_takes_no_more_but_answers_what_it_has(tiny: Tiny) -> None:
    with front_end(tiny.bundle) as front:
        with stopped(front):
            had = front.send({"seed": 1})
            assert json.loads(front.ask(b"{}", x_atelier="drain").body)["in_flight"] == 1
            refused = front.ask({"seed": 2})
        assert refused.status == 503
        assert refused.message == "the server is stopping and takes no more requests; send it to another one"
        assert had.result(20).status == 200
        assert front.ask(b"{}", x_atelier="ping").status == 200


def test_a_waiting_request_is_cancelled_by_its_name(small: FrontEnd) -> None:
    with stopped(small):
        first = small.send({"seed": 1})
        named = small.send({"seed": 2}, x_atelier_id="mine")
        assert json.loads(small.ask(b"{}", x_atelier="cancel", x_atelier_id="mine").body) == {"status": "cancelled"}
        reply = named.result(5)
        assert (reply.status, reply.message) == (499, "cancelled by the caller")
        again = small.ask(b"{}", x_atelier="cancel", x_atelier_id="mine")
        assert again.status == 404
        next_one = small.send({"seed": 3})  # its place is free again
    assert {future.result(20).status for future in (first, next_one)} == {200}


@pytest.mark.usefixtures("faulty_engine")
def test_a_stream_is_cancelled_by_its_name(tiny_text: Tiny) -> None:
    with front_end(tiny_text.bundle) as front:
        future = front.send(SLOWLY, x_atelier_id="mine")
        reply = newest(front)
        eventually(lambda: bool(reply.pieces), 10, "no first piece came")
        assert front.ask(b"{}", x_atelier="cancel", x_atelier_id="mine").status == 200
        assert future.result(5) is reply
        assert last_error(reply) == (499, "cancelled by the caller")
        began = time.monotonic()
        assert front.ask({**LONG, "max_tokens": 8}).status == 200
        assert time.monotonic() - began < 6 * SLOW_SECONDS  # nothing slow is stepped beside it any more
        assert health(front)["in_flight"] == 0


def last_error(reply: Reply) -> tuple[int, str]:
    """How a stream that had begun was broken off: its last event says so, and there is no [DONE]."""
    assert reply.status == 200
    event = reply.pieces[-1].decode()
    assert event.startswith('data: {"error": ') and event.endswith("\n\n")
    error = json.loads(event.removeprefix("data: "))["error"]
    return error["code"], error["message"]


def test_a_full_queue_says_how_full_and_when_to_come_again(small: FrontEnd) -> None:
    assert small.ask({"seed": 1}).status == 200
    with stopped(small):
        taken = [small.send({"seed": seed}) for seed in (1, 2)]
        refused = small.ask({"seed": 3})
        assert refused.status == 503
        assert refused.headers["Retry-After"] == "1"
        wanted = "2 requests are waiting or being computed, which is all tiny takes; try again in 1 s"
        assert refused.message == wanted
        assert json.loads(refused.body)["type"] == "Unavailable"
        assert small.ask(b"{}", x_atelier="ping").status == 200
    assert {future.result(20).status for future in taken} == {200}
    assert small.ask({"seed": 3}).status == 200


def test_an_engine_gets_twice_what_it_computes_at_once(tiny: Tiny, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, max_slots=1, max_queue=4)) as front:
        with stopped(front):
            futures = [front.send({"seed": seed}) for seed in range(5)]
            figures = health(front)
        assert (figures["in_flight"], figures["queued"]) == (2, 3)
        assert {future.result(20).status for future in futures} == {200}


def test_a_deadline_ahead_is_served(image: FrontEnd) -> None:
    assert image.ask({"seed": 1}, x_atelier_deadline=str(time.time() + 60)).status == 200
    assert image.ask({"seed": 1}, x_atelier_deadline="inf").status == 200


def test_a_deadline_that_passes_while_it_waits(small: FrontEnd) -> None:
    with stopped(small):
        began = time.time()
        reply = small.ask({"seed": 1}, x_atelier_deadline=str(began + 0.3))
        assert 0.25 < time.time() - began < 5
        assert health(small)["in_flight"] == 0  # nobody holds its place
    assert (reply.status, reply.message) == (504, "the deadline passed before the answer was whole")
    assert json.loads(reply.body)["type"] == "DeadlineExceeded"


def test_nothing_takes_longer_than_the_limit(tiny: Tiny, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, max_seconds=1)) as front, stopped(front):
        reply = front.ask({"seed": 1}, seconds=5, x_atelier_deadline=str(time.time() + 60))
        assert reply.status == 504


@pytest.mark.usefixtures("faulty_engine")
def test_a_deadline_in_mid_stream_is_told_in_the_stream(tiny_text: Tiny) -> None:
    with front_end(tiny_text.bundle) as front:
        reply = front.ask(SLOWLY, x_atelier_deadline=str(time.time() + 2.5 * SLOW_SECONDS))
        assert len(reply.pieces) >= 2
        assert last_error(reply) == (504, "the deadline passed before the answer was whole")
        assert health(front)["in_flight"] == 0


def test_an_answer_over_the_limit_is_refused_alone(small: FrontEnd) -> None:
    replies = small.ask_all([{"seed": 1, "n": 16}, {"seed": 1}])
    assert [reply.status for reply in replies] == [413, 200]
    assert re.fullmatch(r"the answer has \d+ bytes, the limit is 3000: lower n, or use format jpeg", replies[0].message)


def test_a_call_that_cannot_be_taken_is_answered(image: FrontEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(services, "read_request", broken)
    reply = image.ask({"seed": 1})
    assert (reply.status, reply.message) == (500, "the request could not be read; the server's log has the reason")


class Context:
    """As much of TorchServe's context as loading uses."""

    def __init__(self, folder: Path, version: str) -> None:
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = {"model": {"modelVersion": version}}


@pytest.fixture
def unpacked(tiny: Tiny, tiny_copy: Path) -> Path:
    """A folder as TorchServe unpacks an archive: the bundle is called bundle."""
    (tiny_copy / "artifacts/bundles/tiny").rename(tiny_copy / "bundle")
    return tiny_copy


def test_an_archive_whose_bundle_was_exchanged_is_refused(tiny: Tiny, unpacked: Path) -> None:
    assert archived_bundle(Context(unpacked, tiny.bundle.version)).digest == tiny.bundle.digest
    with pytest.raises(BundleError, match=f"the archive is version 000000000000, its bundle is {tiny.bundle.version}"):
        archived_bundle(Context(unpacked, "0" * 12))


def test_loading_puts_our_loop_in_the_place_of_torchserves(
    tiny: Tiny, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main: Any = sys.modules["__main__"]
    monkeypatch.setattr(main, "AsyncService", None, raising=False)
    monkeypatch.setattr(services.logging.getLogger(), "setLevel", lambda level: None)  # type: ignore[attr-defined]
    began = time.monotonic()
    assert torchserve_handler.handle(None, Context(unpacked, tiny.bundle.version)) is None  # type: ignore[func-returns-value]
    try:
        assert time.monotonic() - began >= services.LOAD_SECONDS  # an answer that comes sooner can be lost
        assert main.AsyncService is AsyncWorker
        assert AsyncWorker.service.engine.pid is not None
    finally:
        AsyncWorker.service.engine.stop()
        del AsyncWorker.service


def test_the_handler_answers_no_request_itself() -> None:
    with pytest.raises(
        RuntimeError, match="TorchServe called the handler itself: the archive must be in its async mode"
    ):
        torchserve_handler.handle([{"body": b"{}"}], None)


WORKER = """
import socket, sys
from handlers import torchserve_handler
class AsyncService: pass
class Loaded: cl_socket = socket.socket(fileno=int(sys.argv[1]))
class Context:
    system_properties = {"model_dir": sys.argv[2]}
    manifest = {"model": {"modelVersion": sys.argv[3]}}
torchserve_handler.handle(None, Context)
AsyncService(Loaded).run()
print("the loop must not return")
"""


def test_a_worker_answers_over_its_socket_and_ends_with_it(tiny: Tiny, unpacked: Path) -> None:
    ours, theirs = socket.socketpair()
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(theirs.fileno()), str(unpacked), tiny.bundle.version],
        pass_fds=[theirs.fileno()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    theirs.close()
    with ours, worker:
        ours.settimeout(30)
        sent = message([Call("one", JSON, {"body": b'{"seed": 1}'})]) + message([Call("two", JSON, {"body": b"["})])
        for part in (sent[:1], sent[1:40], sent[40:]):
            ours.sendall(part)
        answers = dict[str, tuple[int, bytes]]()
        data = b""
        while len(answers) < 4:
            data += ours.recv(1 << 16)
            try:
                frames = list(decode(data))
            except (struct.error, AssertionError):  # not all of a frame
                continue
            answers = {f"{call} {headers.get(STREAM)}": (status, body) for call, status, _, headers, body in frames}
        assert answers["one true"][1].startswith(b"\x89PNG")
        assert answers["two None"][0] == 400
        assert answers["one false"] == answers["two false"] == (200, b"")
        (engine,) = psutil.Process(worker.pid).children()
        ours.close()
        assert worker.wait(10) == 0
        assert worker.stdout is not None
        assert worker.stdout.read() == b""
        eventually(lambda: not engine.is_running(), 10, "the engine outlived its worker")


def test_a_worker_ends_when_the_front_ends_bytes_make_no_sense(tiny: Tiny, unpacked: Path) -> None:
    ours, theirs = socket.socketpair()
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(theirs.fileno()), str(unpacked), tiny.bundle.version],
        pass_fds=[theirs.fileno()],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    theirs.close()
    with ours, worker:
        ours.sendall(b"L")
        assert worker.wait(30) == 0
        assert worker.stderr is not None
        assert b"WireError: the front end sent command b'L', wanted b'I'" in worker.stderr.read()
