"""Requests at random, near to right ones: each is answered once and to its end, none with a 500, others go on."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handlers.frames import Cancel, Data, End, Ready, Refused, Started, Submit
from handlers.proxy import control
from handlers.proxy.control import LAUNCHERS, PUBLIC
from handlers.proxy.doors import Doors
from tests.support.frontend import NONCE
from tests.support.proxy import Proxy

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
documents = values.map(json.dumps)
bodies = st.one_of(
    st.binary(max_size=60),
    documents.map(str.encode),
    documents.map(lambda text: text.encode("utf-16")),
    documents.map(lambda text: gzip.compress(text.encode())),
    st.sampled_from(
        [b"[" * 5000, b"{}," * 9000, b'"' * 300, b'{"a":' * 900, b"9" * 5000, b"1e999", b'{"a": "\\ud800"}']
    ),
)
headers = st.fixed_dictionaries(
    {},
    optional={
        "content_type": st.sampled_from(
            ["", "application/json", "application/json; charset=utf-16", "application/json;charset", "text/plain", ";"]
        ),
        "content_encoding": st.sampled_from(["gzip", "identity", "br", "", "gzip, gzip"]),
        "x_atelier": st.sampled_from([*PUBLIC.split(", "), *LAUNCHERS, "", "ping, drain", "PING"]),
        "x_atelier_nonce": st.sampled_from(["", "x", "\ud800"]),
        "x_atelier_id": st.sampled_from(["", "a", "b", "x" * 200, "\n"]),
        "x_atelier_caller": st.sampled_from(["", "c"]),
        "x_atelier_deadline": st.sampled_from(["", "0", "inf", "-inf", "nan", "1e400", "9e9", "soon", "\u0661"]),
        "x_atelier_timeout": st.sampled_from(["", "-1", "inf", "nan", "60", "1_0", "0x1"]),
        "host": st.sampled_from(["localhost", "", "evil", "[::1]:1", "localhost:999999"]),
        "origin": st.sampled_from(["null", "http://localhost", "http://evil"]),
        "url_path": st.sampled_from(["", "x"]),
        "explain": st.sampled_from(["False", "True"]),
        "describe": st.just("True"),
    },
)
endings = st.lists(
    st.sampled_from([Started("image/png", "r"), Data(b"x"), End(), Refused(400, "bad", "n")]), max_size=4
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(bodies, headers, endings), max_size=8))
@example([(b'{"a": 1}', {}, [])] * 8)
def test_every_request_is_answered_once(some: list[tuple[bytes, dict[str, str], list[Any]]]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        asyncio.run(answered_once(monkeypatch, some))


async def answered_once(monkeypatch: pytest.MonkeyPatch, some: list[tuple[bytes, dict[str, str], list[Any]]]) -> None:
    monkeypatch.setattr(control, "LATE_SECONDS", 0.0)
    proxy = Proxy(monkeypatch, Doors(NONCE), max_slots=2, max_queue=2)
    proxy.say((0, Ready({"model": "m"})))
    calls = []
    for number, (body, named, said) in enumerate(some, 1):
        calls.append(proxy.send(body, **named))
        proxy.say(*((number, message) for message in said))
    numbers = {frame.number for frame in proxy.engine.sent if isinstance(frame.message, Submit)}
    for frame in proxy.engine.sent:
        if isinstance(frame.message, Submit):
            json.loads(frame.message.body)  # what the engine gets, it can read
    proxy.engine.on_lost("it died")
    for _ in range(4):  # of what waited, one engine after another
        numbers |= {frame.number for frame in proxy.engine.sent if isinstance(frame.message, Submit | Cancel)}
        proxy.say(*((number, Refused(400, "bad", None)) for number in sorted(numbers)))
    await asyncio.sleep(0)  # what is refused a little late
    await asyncio.sleep(0)
    for call in calls:
        assert proxy.ended(call)
        statuses = [status for status, _ in proxy.of(call)]
        assert 500 not in statuses
    assert proxy.service._queue.size == proxy.service._queue.places == proxy.service._queue._body_bytes == 0
    assert proxy.service._queue._named == {}
    assert proxy.engine.killed == []
    call = proxy.send(x_atelier="ping")
    assert proxy.document(call) == {"status": "ok"}
