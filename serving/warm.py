"""Warming the front end: the JVM compiles its hot paths only after some 20,000 requests; cold it is several times slower.

Raw asyncio sockets, because an HTTP client library would cost more than the server; `X-Atelier: ping` answers
without the engine.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

REQUESTS = 20_000
CONNECTIONS = 32
MAX_SECONDS = 8.0


def warm(address: str, models: Sequence[str], requests: int = REQUESTS, seconds: float = MAX_SECONDS) -> int:
    """Send pings to all models in turn until `requests` or `seconds` are used up; returns how many were answered 200."""
    return asyncio.run(_warm(address, models, requests, seconds))


async def _warm(address: str, models: Sequence[str], requests: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    share = -(-requests // CONNECTIONS)
    counts = await asyncio.gather(*(_client(address, models, share, deadline, i) for i in range(CONNECTIONS)))
    return sum(counts)


async def _client(address: str, models: Sequence[str], share: int, deadline: float, offset: int) -> int:
    answered = 0
    reader, writer = await _connect(address)
    pings = [_ping(model) for model in models]
    try:
        for i in range(share):
            if time.monotonic() > deadline:
                break
            writer.write(pings[(i + offset) % len(pings)])
            async with asyncio.timeout(10):
                head = await reader.readuntil(b"\r\n\r\n")
                lower = head.lower()
                await reader.readexactly(int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0]))
            answered += head.startswith(b"HTTP/1.1 200")
            if b"connection: close" in lower:  # the front end closes after an error
                writer.close()
                reader, writer = await _connect(address)
    finally:
        writer.close()
    return answered


def _ping(model: str) -> bytes:
    return (
        f"POST /predictions/{model} HTTP/1.1\r\nHost: localhost\r\nX-Atelier: ping\r\n"
        "Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    ).encode()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))
