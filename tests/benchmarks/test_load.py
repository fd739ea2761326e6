"""The load generator tells the truth: counts, latency from when a request was due, streams, limits."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.load import SEED, Load, Result, measure, run

Answer = Callable[[bytes, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server in a thread; `answer` gets each body."""
    address: list[str] = []
    started, finished = threading.Event(), threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                await answer(await reader.readexactly(length), writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
            address.append(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            started.set()
            await asyncio.to_thread(finished.wait, 30)
            await asyncio.sleep(0.1)  # the last connections close

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    started.wait(5)
    try:
        yield address[0]
    finally:
        finished.set()
        thread.join(10)


def reply(writer: asyncio.StreamWriter, status: int = 200, body: bytes = b"ok", headers: str = "") -> None:
    writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body)


def load(address: str, **changes: Any) -> Result:
    body = f'{{"seed": {SEED}}}'
    return asyncio.run(measure(Load(address, "/x", body, **{"seconds": 0.5, "warm_seconds": 0.1, **changes})))


def test_a_closed_loop_counts_every_answer() -> None:
    bodies: set[bytes] = set()

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        assert body not in bodies  # every request has a seed of its own
        bodies.add(body)
        await asyncio.sleep(0.01)
        reply(writer)

    with server(answer) as address:
        result = load(address, clients=4)
    assert set(result.counts) == {"200"}
    assert 40 < result.good_per_s < 400  # four clients, ten milliseconds each
    assert 9 < result.p50_ms < 40
    assert result.body_bytes == 2 * result.counts["200"]


def test_a_stall_shows_in_an_open_loop() -> None:
    """A server that sleeps for 0.3 s once: a closed loop sees one slow request, an open one all that were due meanwhile."""
    stalled: list[float] = []

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        if not stalled or time.monotonic() < stalled[0]:
            stalled[:] = stalled or [time.monotonic() + 0.3]
            await asyncio.sleep(stalled[0] - time.monotonic())
        reply(writer)

    with server(answer) as address:
        result = load(address, rate=200.0, clients=2, spacing="even", seconds=1.0, warm_seconds=0.001)
    assert result.p90_ms > 50  # some 60 of 200 requests were due in the stall, on two connections
    assert result.max_ms > 250
    assert result.counts["200"] == pytest.approx(200, abs=10)


def test_streams_are_timed_to_their_first_byte() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    with server(answer) as address:
        closed, opened = load(address), load(address, rate=10.0, clients=4)
    for result in (closed, opened):
        assert result.first_byte_p50_ms < 40 < result.p50_ms
        assert set(result.counts) == {"200"}
    assert closed.body_bytes == 9 * closed.counts["200"]


def test_a_closed_connection_is_opened_again_and_refusals_are_counted() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer, 503, b"busy", "Connection: close\r\n")
        writer.close()

    with server(answer) as address:
        result = load(address, clients=2)
        opened = load(address, clients=8, rate=100.0, spacing="even")
    assert opened.counts == {"503": pytest.approx(50, abs=3)}
    assert set(result.counts) == {"503"}
    assert result.counts["503"] > 10
    assert result.good_per_s == 0
    assert math.isnan(result.p50_ms)
    assert result.refused_p99_ms > 0


def test_no_answer_is_an_error() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.close()

    with server(answer) as address:
        assert set(load(address).counts) == {"error"}
        assert set(load(address, rate=50.0, clients=4).counts) == {"error"}
    assert set(load(address, rate=50.0).counts) == {"error"}  # nobody listens any more


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"address": "http://example.invalid:80"}, "load stays at home"),
        ({"address": "http://127.0.0.10.example.invalid:80"}, "load stays at home"),
        ({"seconds": 5000}, "seconds is 5001, wanted more than 0 and at most 900"),
        ({"clients": 0}, "clients is 0, wanted more than 0 and at most 2048"),
        ({"rate": 1e6}, "rate is 1e"),
    ],
)
def test_load_is_bounded(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Load(**{"address": "unix:/x", "path": "/", "body": "{}", "seconds": 1, **changes})


def test_it_runs_in_a_process_of_its_own() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer)

    with server(answer) as address:
        assert run(Load(address, "/x", "{}", 0.3, 0.05)).counts["200"] > 10
