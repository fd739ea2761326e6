"""The load generator tells the truth: counts, latency from when a request was due, streams, limits."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.load import SEED, Load, measure, send
from benchmarks.open_loop import OpenLoop, due_times
from benchmarks.response import ResponseParser, Sample
from benchmarks.result import MAX_BEHIND_MS, Result, summed
from tests.conftest import ROOT

REQUEST = b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
Handler = Callable[[bytes, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@contextmanager
def server(answer: Handler) -> Iterator[str]:
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
    assert 0 < result.good_per_s <= 440  # four clients, ten milliseconds each; timers may be a little early
    assert result.p50_ms > 9
    assert math.isnan(result.behind_p99_ms)  # nothing was due
    assert result.body_bytes == 2 * result.counts["200"]


def test_a_stall_shows_in_an_open_loop() -> None:
    """A server that sleeps for 0.3 s once: a closed loop sees one slow request, an open one all that were due then."""
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
    assert result.counts["200"] == pytest.approx(200, abs=1)  # however late


def test_streams_are_timed_to_their_first_byte() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await asyncio.sleep(0.05)
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")

    with server(answer) as address:
        closed, opened = load(address), load(address, rate=10.0, clients=4)
    for result in (closed, opened):
        assert result.first_byte_p50_ms < result.p50_ms
        assert result.p50_ms > 49
        assert set(result.counts) == {"200"}
        assert result.chunks == 2
        assert result.body_bytes == 9 * result.counts["200"]


def test_chunks_may_have_extensions_and_trailers() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b\r\nfirst\r\n0\r\nX: y\r\n\r\n")

    with server(answer) as address:
        result = load(address, requests=20, warm_seconds=0.0, seconds=30.0)
    assert result.overall.count == result.counts["200"]
    assert result.body_bytes == 5 * result.counts["200"]


def test_a_closed_connection_is_opened_again_and_refusals_are_counted() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer, 503, b"busy", "Connection: close\r\n")
        writer.close()

    with server(answer) as address:
        result = load(address, clients=2, requests=20, warm_seconds=0.0, seconds=30.0)
        opened = load(address, clients=8, rate=100.0, spacing="even")
    assert opened.counts == {"503": pytest.approx(50, abs=3)}
    assert result.counts == {"503": 20}
    assert result.good_per_s == 0
    assert math.isnan(result.p50_ms)
    assert result.refused_p99_ms > 0


def test_a_connection_that_was_closed_while_idle_is_no_error() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer)  # says nothing about closing
        await writer.drain()
        writer.close()

    with server(answer) as address:
        assert set(load(address, rate=8.0, spacing="even").counts) == {"200"}


def test_what_is_no_http_is_an_error() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-x\r\n\r\n")

    with server(answer) as address:
        assert set(load(address).counts) == {"error"}


def test_it_stops_after_so_many_requests() -> None:
    bodies: list[bytes] = []

    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        bodies.append(body)
        reply(writer)

    with server(answer) as address:
        result = load(address, clients=3, requests=10, warm_seconds=0.0, seconds=30.0)
    assert result.counts == {"200": 10}
    assert sorted(bodies) == sorted(f'{{"seed": {number}}}'.encode() for number in range(1, 11))


def test_every_status_has_its_latency_and_all_together() -> None:
    async def answer(body: bytes, writer: asyncio.StreamWriter) -> None:
        if int(body.split()[1].rstrip(b"}")) % 2:
            reply(writer, 503)
        else:
            await asyncio.sleep(0.03)
            reply(writer)

    with server(answer) as address:
        result = load(address, requests=30, warm_seconds=0.0, seconds=30.0)
    good, refused = result.by_status["200"], result.by_status["503"]
    assert (good.count, refused.count) == (result.counts["200"], result.counts["503"]) == (15, 15)
    assert result.overall.count == good.count + refused.count
    assert good.p50_ms == result.p50_ms > 29
    assert refused.p99_ms == result.refused_p99_ms
    assert result.overall.max_ms == max(good.max_ms, refused.max_ms)
    assert result.responses_per_s > result.good_per_s
    assert result.series
    assert all(middle <= worst for _, middle, worst in result.series)


def test_what_could_not_be_sent_counts_with_the_time_it_waited() -> None:
    """One connection that is never answered, forty requests a second: the others never go out."""
    given_up = threading.Event()

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.to_thread(given_up.wait, 30)

    with server(answer) as address:
        loop = OpenLoop(address, 1, drain=0.3)
        now = time.perf_counter()
        loop.run((at, REQUEST) for at in due_times(now, now + 0.29, 40.0, False, 1))
        given_up.set()
    outcomes = collections.Counter(sample.outcome for sample in loop.samples)
    assert outcomes == {"error": 1, "unsent": 11}
    assert min(sample.took for sample in loop.samples if sample.outcome == "unsent") > 0.25


def test_an_open_loop_tells_how_late_it_was_itself() -> None:
    """The generator stands still for 50 ms before every request: the server answers at once, and is not to blame."""

    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer)

    def schedule(began: float) -> Iterator[tuple[float, bytes]]:
        for number in range(5):
            time.sleep(0.05)
            yield began + number * 0.01, REQUEST

    with server(answer) as address:
        loop = OpenLoop(address, 4)
        began = time.perf_counter()
        loop.run(schedule(began))
    assert [due - began for due, _ in loop.behind] == pytest.approx([0.0, 0.01, 0.02, 0.03, 0.04])
    assert min(late for _, late in loop.behind) > 0.04
    assert loop.behind[-1][1] > 0.2  # five stops, less the 40 ms after which the last one was due
    result = summed(loop.samples, loop.behind, began, 1.0)
    assert result.behind_max_ms >= result.behind_p99_ms > MAX_BEHIND_MS
    assert result.late


def test_only_requests_that_are_counted_make_a_generator_late() -> None:
    samples = [Sample(float(second), "200", 0.01) for second in range(10)]
    behind = [(float(second), 0.5 if second == 1 else 0.002) for second in range(10)]
    assert summed(samples, behind, 0.0, 10.0).late
    warmed = summed(samples, behind, 2.0, 8.0)  # it was late while it warmed up
    assert (warmed.behind_p99_ms, warmed.behind_max_ms, warmed.late) == (2.0, 2.0, False)
    assert not summed(samples, [], 2.0, 8.0).late  # a closed loop


def test_a_response_is_whole_when_its_last_byte_has_come() -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    parser = ResponseParser()
    assert not parser.feed(head)
    assert not parser.first  # no byte of the body yet
    for byte in b"5\r\nfirst\r\n4\r\nlast\r\n0\r\n\r":
        assert not parser.feed(bytes([byte]))
    assert parser.first
    assert parser.feed(b"\n")
    assert (parser.status, parser.chunks, parser.size) == ("200", 2, 9)
    with pytest.raises(EOFError, match="closed before the response was whole"):
        ResponseParser().feed(b"")
    with pytest.raises(ValueError, match=r"ssh-2.0-x.* is no HTTP/1.1 response"):
        ResponseParser().feed(b"SSH-2.0-x\r\n\r\n")


def test_requests_are_due_as_often_as_asked() -> None:
    even = list(due_times(10.0, 11.0, 4.0, False, 1))
    assert even == [10.0, 10.25, 10.5, 10.75]
    random = list(due_times(0.0, 100.0, 50.0, True, 7))
    assert len(random) == pytest.approx(5000, rel=0.06)
    gaps = sorted(b - a for a, b in itertools.pairwise(random))
    assert gaps[len(gaps) // 2] == pytest.approx(math.log(2) / 50, rel=0.1)  # as exponential gaps have it
    assert random == list(due_times(0.0, 100.0, 50.0, True, 7))


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
        ({"rate": 0.0}, "rate is 0"),
        ({"address": "http://127.0.0.1:80/x"}, "load stays at home"),
        ({"address": "http://127.0.0.1:80\r\nHost: x"}, "load stays at home"),
        ({"path": "/ HTTP/1.1\r\nX: y"}, "wanted one that begins with /"),
        ({"seconds": 0.0}, "seconds is 0, wanted more than 0"),
        ({"warm_seconds": -1.0}, "warm_seconds is -1, wanted 0 or more"),
        ({"rate": 19_000.0, "seconds": 300}, "rate times seconds is 5.719e"),
        ({"requests": 0}, "requests is 0, wanted more than 0"),
        ({"spacing": "odd"}, "spacing is 'odd', wanted even or poisson"),
    ],
)
def test_load_is_bounded(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Load(**{"address": "unix:/x", "path": "/", "body": "{}", "seconds": 1, **changes})


def test_it_runs_in_a_process_of_its_own() -> None:
    async def answer(_: bytes, writer: asyncio.StreamWriter) -> None:
        reply(writer)

    with server(answer) as address:
        result = send(Load(address, "/x", "{}", 0.3, 0.05))
    assert result.counts["200"] > 0
    assert result.by_status["200"].p50_ms == result.p50_ms
    assert math.isnan(result.refused_p99_ms)  # null on the way: NaN is no JSON
    assert math.isnan(result.chunks)


def test_a_load_that_is_none_is_refused_by_its_process() -> None:
    command = [sys.executable, "-m", "benchmarks.load"]
    for text, message in (
        ('{"address": "http://10.0.0.1:80", "path": "/", "body": "", "seconds": 1}', "load stays at home"),
        ('{"speed": 1}', "unexpected keyword argument 'speed'"),
        ("no JSON", "Expecting value"),
    ):
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)
        assert done.returncode == 2
        assert message in done.stderr
        assert not done.stdout
