"""Plays TorchServe's front end for a `Service` with its real engine process: calls in, decoded answers out."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handlers.bundle import Bundle
from handlers.identity import HOME
from handlers.proxy.doors import Doors
from handlers.proxy.service import Service
from handlers.proxy.wire import STREAM, Call

JSON = {"content-type": "application/json", "host": "localhost", "url_path": "", "explain": "False"}
NONCE = "the launcher's"
DOORS = Doors(NONCE)


@dataclasses.dataclass
class Reply:
    """Everything that came back for one call."""

    status: int = 0
    content_type: str = ""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    pieces: list[bytes] = dataclasses.field(default_factory=list)
    times: list[float] = dataclasses.field(default_factory=list)
    ended: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def message(self) -> str:
        body = json.loads(self.body)
        assert body["code"] == self.status
        return str(body["message"])


def decode(data: bytes) -> Iterator[tuple[str, int, str, dict[str, str], bytes]]:
    """(call, status, content type, headers, body) of every frame, read as the front end reads them."""
    at = 0

    def integer() -> int:
        nonlocal at
        at += 4
        value: int = struct.unpack_from("!i", data, at - 4)[0]
        return value

    def string() -> bytes:
        nonlocal at
        length = integer()
        at += length
        return data[at - length : at]

    while at < len(data):
        assert integer() == 200  # anything else fails every request in flight
        string()
        call, content_type, status = string().decode(), string().decode(), integer()
        string()
        headers = {string().decode(): string().decode() for _ in range(integer())}
        assert not any("\r" in part or "\n" in part for pair in headers.items() for part in pair)
        yield call, status, content_type, headers, string()
        assert integer() == -1


class FrontEnd:
    """Runs a service in a thread of its own."""

    def __init__(self, bundle: Bundle, home: Path = HOME, doors: Doors = DOORS) -> None:
        self.service = Service(bundle, self._written, home, doors)
        self.loop = asyncio.new_event_loop()
        self._replies: dict[str, tuple[Reply, Future[Reply]]] = {}
        self._count = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self._engine = self.loop.create_task(self.service.engine.run())
        self.loop.run_forever()
        self._engine.cancel()
        self.loop.run_until_complete(asyncio.gather(self._engine, return_exceptions=True))
        self.loop.close()

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(60)

    def send(
        self, body: bytes | Mapping[str, Any] | None, headers: Mapping[str, str] = JSON, **more: str
    ) -> Future[Reply]:
        """Hand a call over; `more` are further headers, with _ for -."""
        self._count += 1
        call = f"call-{self._count}"
        future: Future[Reply] = Future()
        self._replies[call] = (Reply(), future)
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {**headers, **{name.replace("_", "-"): value for name, value in more.items()}}
        self.loop.call_soon_threadsafe(self.service.take, Call(call, named, {} if raw is None else {"body": raw}))
        return future

    def ask(
        self,
        body: bytes | Mapping[str, Any] | None,
        headers: Mapping[str, str] = JSON,
        seconds: float = 60,
        **more: str,
    ) -> Reply:
        return self.send(body, headers, **more).result(seconds)

    def word(self, word: str) -> Reply:
        """What is answered to a word of the launcher's."""
        return self.ask(b"{}", x_atelier=word, x_atelier_nonce=NONCE)

    def ask_all(self, bodies: Sequence[Any]) -> list[Reply]:
        """All at once."""
        return [future.result(60) for future in [self.send(body) for body in bodies]]

    def newest(self) -> Reply:
        """The reply so far to the call that was sent last."""
        return list(self._replies.values())[-1][0]

    def wait_ready(self, seconds: float = 120) -> FrontEnd:
        deadline = time.monotonic() + seconds
        while self.service.engine.state != "ready":
            assert time.monotonic() < deadline, self.service.engine.reason
            time.sleep(0.01)
        return self

    def _written(self, data: bytes) -> None:
        for call, status, content_type, headers, body in decode(data):
            reply, future = self._replies[call]
            assert not reply.ended, "a frame after the last one"
            if reply.status == 0:
                reply.status, reply.content_type, reply.headers = status, content_type, headers
            if body:
                reply.pieces.append(body)
                reply.times.append(time.monotonic())
            if headers.get(STREAM) == "false":
                reply.ended = True
                future.set_result(reply)


@contextmanager
def front_end(bundle: Bundle, home: Path = HOME, doors: Doors = DOORS) -> Iterator[FrontEnd]:
    front = FrontEnd(bundle, home, doors)
    try:
        yield front.wait_ready()
    finally:
        front.close()
