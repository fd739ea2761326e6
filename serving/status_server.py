"""`/ready` and `/metrics` on a loopback port of the launcher, for probes and scrapers; anybody of this machine may ask.

One thread for all connections, one for `/metrics`. A connection costs a file and a few kilobytes, there are at most
`MAX_CONNECTIONS`, and each has its time: the oldest that has not asked yet gives way to a newcomer, so that those who
send a byte now and then keep nobody out.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import socket
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Protocol

from serving.status import Status

TEXT = "text/plain; version=0.0.4; charset=utf-8"
MAX_CONNECTIONS = 64
ACCEPTED = 16  # at once
WAITING = 1024  # in the kernel's queue: whoever finds that full comes again a second later
MAX_HEAD = 8192  # bytes of a request, all of it: nobody needs a body here
HEAD_SECONDS = 5.0  # from the first to the last byte of a request
TOTAL_SECONDS = 15.0  # and of its answer: a scrape waits up to 5 s for a front end that is silent
KEPT_SECONDS = 1.0  # how old the text of `/metrics` may be
FRESH = 5  # collections in so long; more than that, and the last text serves
TIDY_SECONDS = 10.0
log = logging.getLogger(__name__)


class Source(Protocol):
    """Source of the text that `/metrics` serves."""

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        ...

    def tidy(self) -> None:
        """Make less of what dead processes left; called now and then, by the thread that calls `text`."""
        ...


class StatusServer:
    """Serves a `Status` and a `Source` until closed. Raises `OSError` where it cannot listen."""

    def __init__(self, status: Status, source: Source, port: int) -> None:
        self._status, self._collector = status, _Collector(source)
        self._socket = socket.create_server(("127.0.0.1", port))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._open: dict[_Connection, None] = {}  # the oldest first
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_tell)
        self._thread = threading.Thread(target=self._run, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, end every connection."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        make = functools.partial(_Connection, self._open, self._status, self._collector)
        server = self._loop.run_until_complete(self._loop.create_server(make, sock=self._socket, backlog=ACCEPTED))
        self._socket.listen(WAITING)  # asyncio takes one figure for both
        self._loop.create_task(self._tidy())
        try:
            self._loop.run_forever()
        finally:
            server.close()
            for connection in list(self._open):
                connection.cut()
            for task in (tasks := asyncio.all_tasks(self._loop)):
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.close()
            self._collector.close()

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            await self._collector.tidy()


class _Collector:
    """Asks a `Source` in a thread of its own, for one at a time; who asks meanwhile gets the same text.

    However many ask, there are at most `FRESH` collections in `KEPT_SECONDS`; fewer than that always get a new one.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._running: asyncio.Future[bytes] | None = None
        self._began: deque[float] = deque(maxlen=FRESH)

    async def text(self) -> bytes:
        """The text, at most `KEPT_SECONDS` old. Raises what the source raised."""
        running, now = self._running, time.monotonic()
        spent = len(self._began) == FRESH and now - self._began[0] < KEPT_SECONDS
        if running is None or (running.done() and not spent):
            self._began.append(now)
            running = self._running = asyncio.get_running_loop().run_in_executor(self._thread, self._source.text)
            running.add_done_callback(_seen)
        return await asyncio.shield(running)  # one who leaves does not end it for the others

    async def tidy(self) -> None:
        """Have the source tidy up; what it cannot now it tries again the next time."""
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._source.tidy)
        except Exception as error:  # the loop goes on
            log.warning("what dead processes counted cannot be put together now: %s", error)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Connection(asyncio.Protocol):
    """One request and its answer; then the connection ends."""

    def __init__(self, others: dict[_Connection, None], status: Status, collector: _Collector) -> None:
        self._others, self._status, self._collector = others, status, collector
        self._data = bytearray()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(TOTAL_SECONDS, self.cut), loop.call_later(HEAD_SECONDS, self._late)]
        self._others[self] = None
        if len(self._others) > MAX_CONNECTIONS:
            next((other for other in self._others if not other.asked), next(iter(self._others))).cut()

    @property
    def asked(self) -> bool:
        """Whether the whole request has come."""
        return self._task is not None or self._transport.is_closing()

    def data_received(self, data: bytes) -> None:
        if self.asked:  # a body, or a second request: not read
            return
        self._data += data
        if b"\r\n\r\n" in self._data or b"\n\n" in self._data:
            self._transport.pause_reading()
            self._reply()
        elif len(self._data) > MAX_HEAD:
            self._send("GET", *_error(431, f"the request is over {MAX_HEAD} bytes"))

    def connection_lost(self, error: Exception | None) -> None:
        self._others.pop(self, None)
        for timer in self._timers:
            timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def cut(self) -> None:
        """End the connection now."""
        self._others.pop(self, None)
        self._transport.abort()

    def _late(self) -> None:
        if not self.asked:
            self._send("GET", *_error(408, f"the request was not complete after {HEAD_SECONDS:.0f} s"))

    def _reply(self) -> None:
        words = self._data.partition(b"\n")[0].decode("latin-1").split()
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            self._send("GET", *_error(400, "this is no HTTP/1.1 request"))
        elif words[0] not in ("GET", "HEAD"):
            self._send(words[0], *_error(405, "known methods: GET, HEAD"))
        elif (path := words[1].partition("?")[0]) == "/metrics":
            self._task = asyncio.get_running_loop().create_task(self._send_metrics(words[0]))
        elif path == "/ready":
            ready, document = self._status.get()
            self._send(words[0], 200 if ready else 503, "application/json", json.dumps(document).encode())
        else:
            self._send(words[0], *_error(404, "known paths: /ready, /metrics"))

    async def _send_metrics(self, method: str) -> None:
        try:
            answer = 200, TEXT, await self._collector.text()
        except Exception as error:
            answer = _error(500, f"the metrics cannot be collected: {type(error).__name__}: {error}")
        self._send(method, *answer)

    def _send(self, method: str, status: int, content_type: str, body: bytes) -> None:
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + (b"" if method == "HEAD" else body))
        self._transport.close()  # once it is sent; `TOTAL_SECONDS` bound that
        if self._transport.get_write_buffer_size() == 0:
            self._others.pop(self, None)


def _seen(running: asyncio.Future[bytes]) -> None:
    """Look at an error, which all who asked may have left: asyncio would complain that nobody did."""
    if not running.cancelled():
        running.exception()


def _error(status: int, message: str) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps({"code": status, "message": message}).encode()


def _tell(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """One line for what goes wrong beside the answers: no file left for a connection, say."""
    log.warning("status port: %s: %r", context.get("message"), context.get("exception"))
