"""The closed loop of the load generator: each client sends its next request when the last one is answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.response import ERROR, RESPONSE_SECONDS, ResponseParser, Sample

REFUSED_PAUSE_SECONDS = 0.005  # a client that was refused does not hammer
_READ = 1 << 18


async def closed_loop(address: str, requests: Iterator[bytes], clients: int, until: float, most: int) -> list[Sample]:
    """`clients` that send one request after the other until `until` (perf_counter) or until `most` were sent."""
    samples: list[Sample] = []
    sent = 0

    async def client() -> None:
        nonlocal sent
        connection = Connection(address)
        while (now := time.perf_counter()) < until and sent < most:
            sent += 1
            sample = await connection.ask(next(requests), now)
            samples.append(sample)
            if sample.outcome != "200":
                await asyncio.sleep(REFUSED_PAUSE_SECONDS)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    await asyncio.sleep(0.01)  # connections that were hung up on are closed by then
    return samples


class Connection:
    """One keep-alive connection; opened with the first request, and again after the server has closed it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, due: float) -> Sample:
        """Send a request and read its whole response."""
        response = ResponseParser()
        try:
            async with asyncio.timeout(RESPONSE_SECONDS):
                reader, writer = await self._opened()
                writer.write(request)
                while not response.feed(await reader.read(_READ)):
                    pass
        except (OSError, EOFError, TimeoutError, ValueError):
            self.close()
            return Sample(due, ERROR, time.perf_counter() - due)
        if response.closing:
            self.close()
        return response.sample(due)

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():  # closed while it was idle
            self.close()
        if self._streams is None:
            self._streams = await _open(self._address)
        return self._streams


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"))
    host, _, port = address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port))
