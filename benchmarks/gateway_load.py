"""Loads that only a gateway gets: half-sent and dripping requests, hundreds of streams, requests while it stops."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import http.client
import itertools
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from benchmarks.server import Server

CROWD = 150  # connections of each sort
DRIP_SECONDS = 0.5
STREAM_SECONDS = 120.0
SENDERS, LOAD_SECONDS, STOP_SECONDS = 16, 2.0, 60.0
HEAD = b"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BEGUN = (HEAD + b"X-A: ", HEAD + b"Content-Length: 60000\r\n\r\n{")  # half a head, half a body
END = b"data: [DONE]\n\n"


@dataclasses.dataclass
class Crowd:
    """Those who send half of a request; `sent` counts them, new ones for those that were ended included."""

    sent: int = 0


@contextmanager
def beside(port: int) -> Iterator[Crowd]:
    """`CROWD` connections that stop in the middle of a request, and as many that drip, renewed when they are ended."""
    crowd, stop = Crowd(), threading.Event()

    def keep(drip: bool) -> None:
        held: list[socket.socket] = []
        number = itertools.count()
        while not stop.is_set():
            while len(held) < CROWD:
                with contextlib.suppress(OSError):
                    held.append(socket.create_connection(("127.0.0.1", port), 5))
                    held[-1].sendall(BEGUN[next(number) % 2])
                    held[-1].setblocking(False)
                    crowd.sent += 1
            held = [connection for connection in held if _goes_on(connection, drip)]
            stop.wait(DRIP_SECONDS)
        for connection in held:
            connection.close()

    threads = [threading.Thread(target=keep, args=(drip,), daemon=True) for drip in (False, True)]
    for thread in threads:
        thread.start()
    try:
        yield crowd
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _goes_on(connection: socket.socket, drip: bool) -> bool:
    try:
        if connection.recv(4096) == b"":
            raise ConnectionResetError
    except BlockingIOError:
        with contextlib.suppress(OSError):
            connection.send(b"a" if drip else b"")
        return True
    except OSError:
        pass
    connection.close()
    return False


def held_streams(server: Server, count: int, path: str, body: str, key: str) -> tuple[int, int]:
    """(streams that ended whole, the most bytes that the gateway held) of `count` streams that begin at once."""
    assert server.gateway is not None
    host, _, port = server.gateway.removeprefix("http://").partition(":")
    request = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    process, peak = server.gateway_process(), 0

    async def one() -> bool:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(STREAM_SECONDS):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(request)
                data = await reader.read()
                writer.close()
                return data.startswith(b"HTTP/1.1 200") and END in data
        return False

    async def everything() -> int:
        nonlocal peak
        tasks = [asyncio.create_task(one()) for _ in range(count)]
        while not all(task.done() for task in tasks):
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.05)
        return sum(task.result() for task in tasks)

    return asyncio.run(everything()), peak


class Stop:
    """SIGTERM to the launcher under load: `outcomes` of all requests, and how many were `lost`.

    Lost is what a connection took and neither answered nor refused; nothing that listens is a refusal.
    """

    def __init__(self, server: Server, headers: Mapping[str, str], model: str, texts: str = "texts") -> None:
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._server, self._model, self._texts = server, model, texts
        self._headers = {"Content-Type": "application/json", **headers}
        self._lock, self._stop, self._seeds = threading.Lock(), threading.Event(), itertools.count(1)
        threads = [threading.Thread(target=self._send, args=(number % 2 == 0,)) for number in range(SENDERS)]
        for thread in threads:
            thread.start()
        time.sleep(LOAD_SECONDS)
        server.process.send_signal(signal.SIGTERM)
        try:
            server.process.wait(STOP_SECONDS)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    @property
    def lost(self) -> int:
        """Requests that were neither answered nor refused."""
        return self.outcomes["lost"]

    def _send(self, stream: bool) -> None:
        while not self._stop.is_set():
            word = self._one(stream)
            with self._lock:
                self.outcomes[word] += 1
            if word == "refused":
                self._stop.wait(0.05)

    def _one(self, stream: bool) -> str:
        assert self._server.gateway is not None
        connection = http.client.HTTPConnection(self._server.gateway.removeprefix("http://"), timeout=60)
        seed = next(self._seeds)
        path, body = "/v1/images/generations", {"model": self._model, "prompt": "", "seed": seed}
        if stream:
            path, body = "/v1/completions", {"model": self._texts, "prompt": "a", "seed": seed, "stream": True}
        try:
            connection.request("POST", path, json.dumps(body), self._headers)
            answer = connection.getresponse()
            data = answer.read()
            whole = answer.status != 200 or not stream or END in data
            return str(answer.status) if whole else "lost"
        except ConnectionRefusedError:
            return "refused"
        except (OSError, http.client.HTTPException):
            return "lost"
        finally:
            connection.close()
