"""Calls in, frames out, through the real engine process: nothing raises, nobody suffers for a neighbour.

No header holds text of a user's.
"""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from handlers.engine.receipts import DESCRIBE_FORMAT
from handlers.identity import handlers_digest
from handlers.proxy import service as services
from handlers.proxy.wire import STREAM
from serving.tryout import decode_receipt
from tests.conftest import ROOT, Tiny
from tests.support.frontend import JSON, FrontEnd, Reply, decode, front_end
from tests.support.helpers import LONG, SLOWLY, health, stopped
from tests.support.sabotage import SLOW_SECONDS
from tests.support.server import eventually

SECRET = "geheimes Wort\r\nX-Secret: 1 €"


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
        (b'{"\xff": 1}', {}, 400, "the body is not valid JSON (byte 2 is no UTF-8)"),
        (b"[" * 8_000, {}, 400, "the body is not valid JSON (RecursionError)"),
        (b"[" * 60_000, {}, 400, "the body has more than 8192 values (counted by { [ : and , outside of strings)"),
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
        (b"{}", {"x_atelier_timeout": "soon"}, 400, "X-Atelier-Timeout wants seconds from now, such as 2.5"),
        (b"{}", {"x_atelier_timeout": "1_0"}, 400, "X-Atelier-Timeout wants seconds from now, such as 2.5"),
        (b"{}", {"x_atelier_timeout": "0"}, 504, "the deadline had passed when the request came"),
        (b"{}", {"x_atelier_timeout": "60", "x_atelier_deadline": "1000.5"}, 504, "the deadline had passed"),
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


@pytest.mark.parametrize("body", [{"seed": 1}, b"["])
def test_a_call_over_grpc_gets_exactly_one_frame(image: FrontEnd, monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    frames = listened(image, monkeypatch)
    reply = image.ask(body, {})  # what comes over gRPC has no header, so no content type
    ((_, status, _, headers, _),) = frames
    assert (status, headers[STREAM]) == (415, "false")
    assert reply.ended
    assert "sent as application/json" in reply.message


def documents(reply: Reply) -> list[Any]:
    """The events of a stream that came to its end."""
    *events, done, nothing = reply.body.decode().split("\n\n")
    assert (done, nothing) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


def text_of(reply: Reply) -> str:
    whole = [json.loads(reply.body)] if reply.content_type == "application/json" else documents(reply)
    return "".join(document["choices"][0]["text"] for document in whole)


def test_a_stream_says_the_same_as_the_whole(text: FrontEnd) -> None:
    reply, whole = text.ask({**LONG, "stream": True}), text.ask(LONG)
    assert (reply.content_type, whole.content_type) == ("text/event-stream; charset=utf-8", "application/json")
    assert text_of(reply) == text_of(whole)
    usage = {"prompt_tokens": 0, "completion_tokens": 1024, "total_tokens": 1024}
    assert documents(reply)[-1]["usage"] == json.loads(whole.body)["usage"] == usage
    assert len(whole.pieces) == 1


def test_a_stream_comes_as_it_is_written(tiny_text: Tiny, faulty_home: Path) -> None:
    with front_end(tiny_text.bundle, faulty_home) as front:
        reply = front.ask({**SLOWLY, "max_tokens": 4})
    assert len(reply.pieces) == 4
    assert reply.pieces[0].count(b"data: ") == 1
    assert len(json.loads(reply.pieces[0].removeprefix(b"data: "))["choices"][0]["text"]) == 1
    assert reply.times[-1] - reply.times[0] > 2 * SLOW_SECONDS  # the first was read long before the last was written
    assert len(documents(reply)) == 5


def test_short_texts_overtake_long_ones(tiny_text: Tiny, faulty_home: Path) -> None:
    with front_end(tiny_text.bundle, faulty_home) as front:
        long = front.send(SLOWLY)
        begun = front.newest()
        eventually(lambda: bool(begun.pieces), 60, "no first piece came")
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
    assert receipt["version"] == tiny.version
    assert receipt["handlers"] == handlers_digest()  # of the code that made it
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
    assert re.fullmatch("[0-9a-f]{64}", receipt["params"]["prompt"]["hmac_sha256"])
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
        assert json.loads(image.ask(None, x_atelier="ping").body) == {"status": "ok"}


def test_health_tells_figures(image: FrontEnd) -> None:
    reply = image.ask(b"{}", x_atelier="health")
    assert reply.status == 200
    assert json.loads(reply.body) == {
        "engine": "ready",
        "reason": "the engine is open",
        "restarts": 0,
        "draining": False,
        "in_flight": 0,
        "queued": 0,
        "queued_seconds": 0.0,
    }
    with stopped(image):
        waiting = [image.send({"seed": seed}) for seed in range(3)]
        assert health(image)["in_flight"] == 3
    assert {future.result(60).status for future in waiting} == {200}


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
