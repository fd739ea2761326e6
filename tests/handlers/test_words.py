"""Whose words are obeyed, which door a call came through, and what callers may call their requests."""

from __future__ import annotations

import json

import pytest

from handlers.frames import Cancel, End, Frame, Ready, Started
from handlers.proxy import control
from handlers.proxy.control import BEFORE_OPEN, LAUNCHERS, MAX_HELD, PUBLIC
from handlers.proxy.doors import NONCE, Doors
from handlers.proxy.service import MAX_ID_CHARACTERS
from handlers.proxy.wire import STREAM, Call
from tests.support.proxy import Proxy, in_loop, until


@pytest.mark.parametrize("word", LAUNCHERS)
@pytest.mark.parametrize("nonce", [None, "", "the launcher", "the launcher's, the launcher's", "ä", "\ud800"])
@in_loop
async def test_the_launchers_words_are_the_launchers(
    monkeypatch: pytest.MonkeyPatch, word: str, nonce: str | None
) -> None:
    proxy = Proxy(monkeypatch)
    given = {} if nonce is None else {"x_atelier_nonce": nonce}
    call = proxy.send(b"{}", x_atelier=word, **given)
    await until(lambda: proxy.ended(call), "it was not refused")
    assert proxy.refusal(call) == (403, f"{word} is the launcher's word; callers have ping, describe, health, cancel")
    proxy.send()
    assert proxy.submitted == [1], "it is served all the same"


@pytest.mark.parametrize("word", LAUNCHERS)
@in_loop
async def test_without_a_launcher_nobody_says_its_words(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    proxy = Proxy(monkeypatch, Doors())
    calls = [proxy.send(b"{}", x_atelier=word, x_atelier_nonce=""), proxy.send(b"{}", x_atelier=word)]
    await until(lambda: all(map(proxy.ended, calls)), "they were not refused")
    assert [proxy.refusal(call)[0] for call in calls] == [403, 403]


@in_loop
async def test_a_flood_of_the_launchers_words_is_refused_behind_what_came_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that overtakes what else comes on its connection costs the front end a request."""
    monkeypatch.setattr(control, "MAX_LATE", 20)
    proxy = Proxy(monkeypatch)
    flood = [proxy.send(b" " * 60_000 + b"{}", x_atelier="hold") for _ in range(20)]
    assert not any(map(proxy.ended, flood))
    assert proxy.refusal(proxy.send(b"{}", x_atelier="hold"))[0] == 403, "no more are kept than that"
    assert proxy.document(proxy.send(x_atelier="ping")) == {"status": "ok"}
    await until(lambda: all(map(proxy.ended, flood)), "they were not refused")
    assert {proxy.refusal(call)[0] for call in flood} == {403}
    assert not proxy.ended(proxy.send(b"{}", x_atelier="hold")), "there is room again"


@in_loop
async def test_the_words_of_the_warm_up_end_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    assert proxy.refusal(proxy.word("refuse")) == (503, "refused, as the warm-up asks")
    held = [proxy.word("hold") for _ in range(3)]
    assert proxy.document(proxy.send(x_atelier="ping")) == {"status": "ok"}
    assert not any(proxy.ended(call) for call in held)
    assert proxy.document(proxy.word("release")) == {"released": 3}
    assert [proxy.document(call) for call in held] == [{}] * 3
    assert proxy.document(proxy.word("release")) == {"released": 0}
    assert proxy.document(proxy.word("open")) == {"status": "open"}
    for word in BEFORE_OPEN:
        assert proxy.refusal(proxy.word(word)) == (403, f"{word} is for the warm-up, and the server is open")


@in_loop
async def test_what_is_held_is_bounded_and_has_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    for _ in range(MAX_HELD):
        proxy.word("hold")
    assert all(call.values == {} for call in proxy.service._control._held)
    assert proxy.refusal(proxy.word("hold")) == (503, f"{MAX_HELD} calls are held, which is all; release them")


@in_loop
async def test_what_is_held_is_answered_by_itself_after_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    proxy.word("hold")
    first = proxy.service._control._timer
    proxy.word("release")
    assert first is not None
    assert first.cancelled(), "or it would release the next ones early"
    held = proxy.word("hold")
    timer = proxy.service._control._timer
    assert timer is not None
    assert not timer.cancelled()
    timer._run()
    assert proxy.document(held) == {}


@in_loop
async def test_health_tells_that_it_is_draining(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    assert proxy.document(proxy.send(x_atelier="health"))["draining"] is False
    assert proxy.document(proxy.word("drain"))["in_flight"] == 0
    call = proxy.send(x_atelier="health")
    assert proxy.document(call)["draining"] is True
    assert proxy.of(call)[0][0] == 503
    wanted = "the server is stopping and takes no more requests; send it to another one"
    assert proxy.refusal(proxy.send()) == (503, wanted)


@in_loop
async def test_describe_documents_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    now = 0.0
    monkeypatch.setattr(proxy.service._control, "_clock", lambda: now)
    proxy.service._control._described_at = 0.0
    monkeypatch.setattr(control, "DESCRIBE_BYTES", 1000)
    monkeypatch.setattr(control, "DESCRIBE_BYTES_PER_SECOND", 200)
    proxy.service._control._describe_bytes = 1000.0
    assert proxy.refusal(proxy.send(x_atelier="describe"))[0] == 503
    proxy.say((0, Ready({"pad": "x" * 290})))
    size = len(json.dumps({"pad": "x" * 290}))
    assert size == 301
    for _ in range(3):
        assert proxy.document(proxy.send(x_atelier="describe")) == {"pad": "x" * 290}
    refused = proxy.send(x_atelier="describe")
    wanted = "more describe documents are asked for than are written in a second; keep one"
    assert proxy.refusal(refused) == (503, wanted)
    assert proxy.headers(refused)["Retry-After"] == "1"
    now = 1.1
    assert proxy.document(proxy.send(x_atelier="describe")) == {"pad": "x" * 290}
    now = 1000.0
    assert [proxy.of(proxy.send(x_atelier="describe"))[0][0] for _ in range(4)] == [200, 200, 200, 503]


@in_loop
async def test_torchserves_own_describe_takes_one_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    proxy.say((0, Ready({"model": "m"})))
    proxy.service.take(Call("own", {"describe": "True"}, {}))
    ((_, status, _, headers, body),) = proxy.frames
    assert (status, headers, json.loads(body)) == (200, {STREAM: "false"}, {"model": "m"})


@pytest.mark.parametrize(
    "headers",
    [
        {"describe": "True"},
        {"describe": "True", "x_atelier": "ping"},
        {"ts_stream_next": "true"},
        {"x_request_id": "1"},
    ],
)
@in_loop
async def test_torchserves_own_words_of_a_caller_change_nothing(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    proxy = Proxy(monkeypatch)
    proxy.say((0, Ready({"model": "m"})))
    call = proxy.send(**headers)
    if "x_atelier" in headers:
        assert proxy.document(call) == {"status": "ok"}
    else:
        proxy.say((1, Started("image/png", "")), (1, End()))
    assert proxy.ended(call)
    assert len(proxy.of(call)) == 2, "over HTTP one frame would be a body without a head"


@pytest.mark.parametrize("body", [b'{"seed": 1}', b"["])
@in_loop
async def test_a_request_without_host_is_answered_as_any(monkeypatch: pytest.MonkeyPatch, body: bytes) -> None:
    """HTTP/1.0 has none."""
    proxy = Proxy(monkeypatch)
    proxy.service.take(
        Call("old", {"content-type": "application/json", "url_path": "", "explain": "False"}, {"body": body})
    )
    if body != b"[":
        proxy.say((1, Started("image/png", "")), (1, End()))
    assert proxy.ended("old")
    assert [status for status, _ in proxy.of("old")] == [200 if body != b"[" else 400, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {"explain": "True"},  # /explanations/NAME
        {"explain": "True, False"},
        {"url_path": "any/thing"},  # /predictions/NAME/VERSION/any/thing
        {"url_path": "any/thing, "},
    ],
)
@pytest.mark.parametrize("word", [{}, {"x_atelier": "ping"}])
@in_loop
async def test_one_door_leads_to_the_model(
    monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], word: dict[str, str]
) -> None:
    proxy = Proxy(monkeypatch)
    found = proxy.refusal(proxy.send(**headers, **word))
    assert found == (404, "this model is served at POST /predictions/NAME alone; send the request there")


@pytest.mark.parametrize("gone", ["url_path", "explain"])
@in_loop
async def test_doors_that_do_not_say_what_they_are_are_closed(monkeypatch: pytest.MonkeyPatch, gone: str) -> None:
    """/invocations, /NAME/predict, /v1/models/NAME:predict, /v2/models/NAME/infer."""
    proxy = Proxy(monkeypatch)
    headers = {"host": "x", "content-type": "application/json", "url_path": "", "explain": "False"}
    del headers[gone]
    proxy.service.take(Call("other", headers, {"body": b"{}"}))
    assert proxy.refusal("other")[0] == 404


@in_loop
async def test_behind_a_socket_any_host_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in front passes on the name by which it was called."""
    proxy = Proxy(monkeypatch)
    proxy.send(host="images.example", origin="https://images.example")
    assert proxy.submitted == [1]


def test_the_launcher_says_in_the_environment_what_a_worker_lets_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NONCE, raising=False)
    assert Doors.of_environment() == Doors("")
    monkeypatch.setenv(NONCE, "abc")
    assert Doors.of_environment() == Doors("abc")


@in_loop
async def test_a_name_in_use_is_refused_and_free_again_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    first = proxy.send(x_atelier_id="mine")
    again = proxy.send(x_atelier_id="mine")
    wanted = "a request of that X-Atelier-Id is not answered yet; give each its own"
    assert proxy.refusal(again) == (409, wanted)
    proxy.say((1, Started("image/png", "")), (1, End()))
    assert proxy.ended(first)
    third = proxy.send(x_atelier_id="mine")
    assert proxy.document(proxy.send(x_atelier="cancel", x_atelier_id="mine")) == {"status": "cancelled"}
    assert proxy.refusal(third) == (499, "cancelled by the caller")
    assert Frame(2, Cancel()) in proxy.engine.sent
    assert proxy.refusal(proxy.send(x_atelier="cancel", x_atelier_id="mine"))[0] == 404


@in_loop
async def test_callers_do_not_reach_each_others_names(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    ours = proxy.send(x_atelier_id="1", x_atelier_caller="we")
    theirs = proxy.send(x_atelier_id="1", x_atelier_caller="they")
    for stranger in ({}, {"x_atelier_caller": "others"}):
        assert proxy.refusal(proxy.send(x_atelier="cancel", x_atelier_id="1", **stranger))[0] == 404
    proxy.send(x_atelier="cancel", x_atelier_id="1", x_atelier_caller="they")
    assert proxy.refusal(theirs)[0] == 499
    assert not proxy.ended(ours)


@in_loop
async def test_a_name_has_a_length(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = Proxy(monkeypatch)
    assert not proxy.ended(proxy.send(x_atelier_id="x" * MAX_ID_CHARACTERS))
    found = proxy.refusal(proxy.send(x_atelier_id="x" * (MAX_ID_CHARACTERS + 1)))
    assert found == (400, f"X-Atelier-Id has more than {MAX_ID_CHARACTERS} characters")


def test_public_words_are_no_launchers() -> None:
    assert not set(PUBLIC.split(", ")) & set(LAUNCHERS)
