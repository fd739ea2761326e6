"""Warming the front end: the JVM compiles its hot paths after some thousand requests; cold it is several times slower.

It ends when it is no use any more: when the best of the last three quarters of a second is at most 3 % above the best
before. On a slow machine that is not seen in the time there is, and the first requests warm it further.

Refusals are a path of their own, with a new connection each, and come in thousands just when there is no time to
compile it. Raw asyncio sockets, because an HTTP client library would cost more than the server; `X-Atelier: ping` and
`X-Atelier: refuse` answer without the engine; words that only the launcher may say carry its nonce.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

REQUESTS = 20_000  # at most
REFUSALS = 12_000
CONNECTIONS = 32
MAX_SECONDS = 5.0  # for everything, of all models together
MAX_REFUSAL_SECONDS = 5.0
PING_SHARE = 0.65  # of what is left of it when the tables are wide; refusals have the rest
LEAST = 2_000  # answers before they can be flat
WINDOW_SECONDS = 0.25
WINDOWS = 3
GROWTH = 0.03
# The front end's table then has 16,384 bins, and would grow again at 12,288 entries: never.
ENTRIES = 6500
_BURST = 500
_READ_LIMIT = 1 << 24  # bytes: the answers of all that were held come at once


class Pace:
    """Answers a second, window by window: do they still grow?"""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._total = self._count = 0
        self._rates: list[float] = []

    def add(self) -> None:
        """Count an answer."""
        self._total += 1
        self._count += 1
        if (seconds := self._clock() - self._began) >= WINDOW_SECONDS:
            self._rates.append(self._count / seconds)
            self._count, self._began = 0, self._clock()

    @property
    def flat(self) -> bool:
        """Whether the last `WINDOWS` were no better than those before; never for less than `LEAST` answers."""
        before, last = self._rates[:-WINDOWS], self._rates[-WINDOWS:]
        return self._total >= LEAST and bool(before) and max(last) <= max(before) * (1 + GROWTH)


def warm(address: str, models: Sequence[str], requests: int = REQUESTS, seconds: float = MAX_SECONDS) -> int:
    """Send pings to all models in turn until the answers' pace is flat, or `requests` or `seconds` are used up.

    Returns how many got a 200.
    """
    return asyncio.run(_warm(address, models, "ping", requests, seconds))


def warm_refusals(
    address: str, models: Sequence[str], nonce: str, requests: int = REFUSALS, seconds: float = MAX_REFUSAL_SECONDS
) -> int:
    """Be refused by all models in turn until the pace is flat, or `requests` or `seconds` are used up; how often?"""
    return asyncio.run(_warm(address, models, "refuse", requests, seconds, nonce))


async def _warm(
    address: str, models: Sequence[str], command: str, requests: int, seconds: float, nonce: str = ""
) -> int:
    pace = Pace()
    deadline = time.monotonic() + seconds
    share = -(-requests // CONNECTIONS)
    orders = [_control(model, command, nonce) for model in models]
    wanted = b"HTTP/1.1 503" if command == "refuse" else b"HTTP/1.1 200"
    counts = await asyncio.gather(
        *(_client(address, orders, wanted, share, deadline, i, pace) for i in range(CONNECTIONS))
    )
    return sum(counts)


def warm_both(address: str, models: Sequence[str], nonce: str, spent: float) -> tuple[int, int]:
    """`warm` and `warm_refusals` in what is left of `MAX_SECONDS`, a quarter at least; returns what they do."""
    deadline = time.monotonic() + max(MAX_SECONDS / 4, MAX_SECONDS - spent)
    pings = warm(address, models, seconds=(deadline - time.monotonic()) * PING_SHARE)
    return pings, warm_refusals(address, models, nonce, seconds=deadline - time.monotonic())


def widen(address: str, model: str, nonce: str, seconds: float = 10.0) -> int:
    """Let the front end hold `ENTRIES` requests to a model at once; returns how many it did.

    Nobody else may send any meanwhile. Its table of those requests is read and written by two threads without a lock,
    and loses an entry now and then, which ends the worker. It grows with what it holds and never shrinks; in a wide one
    the two threads hardly ever meet. A look-up while it grows may fail, too: so nothing is answered while anything is
    being entered.
    """
    return asyncio.run(_widen(address, model, nonce, seconds))


async def _widen(address: str, model: str, nonce: str, seconds: float) -> int:
    reader, writer = await _connect(address)
    try:
        async with asyncio.timeout(seconds):
            for at in range(0, ENTRIES, _BURST):
                # One connection, so that the ping is entered behind the burst: its answer comes when nothing is left
                # to enter.
                writer.write(_control(model, "hold", nonce) * min(_BURST, ENTRIES - at) + _control(model, "ping"))
                await reader.readuntil(b"0\r\n\r\n")
            writer.write(_control(model, "release", nonce))
            await reader.readuntil(b'{"released": ')  # behind the answers of all that were held
            return int((await reader.readuntil(b"}"))[:-1])
    finally:
        writer.close()


async def _client(
    address: str, orders: Sequence[bytes], wanted: bytes, share: int, deadline: float, offset: int, pace: Pace
) -> int:
    answered = 0
    reader, writer = await _connect(address)
    try:
        for i in range(share):
            if time.monotonic() > deadline or pace.flat:
                break
            writer.write(orders[(i + offset) % len(orders)])
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                if b"transfer-encoding: chunked" in lower:
                    await reader.readuntil(b"0\r\n\r\n")
                else:
                    await reader.readexactly(int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            answered += head.startswith(wanted)
            pace.add()
            if b"connection: close" in lower:  # the front end closes after an error
                writer.close()
                reader, writer = await _connect(address)
    finally:
        writer.close()
    return answered


def _control(model: str, command: str, nonce: str = "") -> bytes:
    word = f"X-Atelier: {command}\r\n" + (f"X-Atelier-Nonce: {nonce}\r\n" if nonce else "")
    return (
        f"POST /predictions/{model} HTTP/1.1\r\nHost: localhost\r\n{word}"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    ).encode()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=_READ_LIMIT)
    host, _, port = address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port), limit=_READ_LIMIT)
