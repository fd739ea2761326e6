"""The warm-up ends when it is no use any more, and in any case soon."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from serving import warm
from serving.warm import LEAST, WINDOW_SECONDS, Pace


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def paced(*rates: float) -> Pace:
    """A pace of so many answers a second, window by window."""
    clock = Clock()
    pace, begun = Pace(clock), 0.0
    for rate in rates:
        count = round(rate * WINDOW_SECONDS)
        for i in range(count):
            clock.now = begun + WINDOW_SECONDS * (i + 1) / count
            pace.add()
        begun = clock.now
    return pace


def test_a_pace_that_grows_is_not_flat() -> None:
    assert not paced(2000, 3000, 4000, 5000, 6000, 7000).flat
    assert not paced(4000, 4000, 4000).flat  # nothing to compare with yet
    assert not paced(4000, 3000, 3000, 4200).flat  # a neighbour took the processor for a while


def test_a_pace_that_has_stopped_growing_is_flat() -> None:
    assert paced(2000, 3000, 4000, 4040, 4000, 4080).flat
    assert paced(4000, 3000, 3500, 4000).flat


def test_few_answers_are_never_flat() -> None:
    slow = LEAST / WINDOW_SECONDS / 8
    assert not paced(*[slow] * 7).flat
    assert paced(*[slow] * 9).flat


@contextmanager
def answering(path: Path) -> Iterator[str]:
    """A front end that answers every request at once: with a 503 to `refuse`, else with a 200."""
    listens = threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
                status = b"503 Service Unavailable" if b"refuse" in head else b"200 OK"
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        server = await asyncio.start_unix_server(serve, path)
        listens.set()
        await stop.wait()
        server.close()
        await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))  # all callers have left

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(loop.run_until_complete, main())
        listens.wait(30)
        try:
            yield f"unix:{path}"
        finally:
            loop.call_soon_threadsafe(stop.set)
            running.result(30)
            loop.close()


def test_it_ends_when_the_pace_is_flat_long_before_its_count(tmp_path: Path) -> None:
    with answering(tmp_path / "s") as address:
        assert LEAST <= warm.warm(address, ["a", "b"], requests=10_000_000, seconds=600) < 10_000_000
        assert warm.warm(address, ["a", "b"], requests=64, seconds=600) == 64


def test_both_share_what_is_left_of_the_time(tmp_path: Path) -> None:
    with answering(tmp_path / "s") as address:
        pings, refusals = warm.warm_both(
            address, ["a"], "nonce", spent=100.0
        )  # the tables took all: a little is done even so
        assert pings > 0
        assert refusals > 0
