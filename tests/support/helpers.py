"""What several tests of handlers/ need: bundles with other limits, the front end's bytes, a desk that is listened to."""

from __future__ import annotations

import json
import os
import signal
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handlers.bundle import Bundle
from handlers.desk import Desk
from handlers.frames import Frame, Kind, Unpacker
from handlers.generator import Request
from handlers.wire import Call
from tests.support import sabotage
from tests.support.frontend import FrontEnd, Reply
from tests.support.sabotage import SLOW


def rewritten(bundle: Bundle, folder: Path, batch_size: int | None = None, **limits: int) -> Bundle:
    """The bundle with other limits, on disk: the engine process reads it from there."""
    return sabotage.rewritten(bundle, folder, bundle.manifest.name, batch_size, **limits)


END = struct.pack("!i", -1)


def sized(data: str | bytes) -> bytes:
    """A string as the front end writes it."""
    raw = data.encode() if isinstance(data, str) else data
    return struct.pack("!i", len(raw)) + raw


def message(calls: Sequence[Call], content_type: str = "application/json") -> bytes:
    """A prediction message as the front end writes it."""
    parts = [b"I"]
    for call in calls:
        parts += [sized(call.id), *(sized(name) + sized(value) for name, value in call.headers.items()), END]
        parts += [sized(name) + sized(content_type) + sized(value) for name, value in call.values.items()]
        parts.append(END)
    return b"".join([*parts, END])


LONG = {"temperature": 0, "seed": 1, "max_tokens": 1024}
SLOWLY = {"temperature": 0, "seed": SLOW, "stream": True}  # of an engine that misbehaves: one byte in SLOW_SECONDS


@contextmanager
def stopped(front: FrontEnd) -> Iterator[None]:
    """The engine stands still inside: what is sent stays where it is."""
    pid = front.service.engine.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def health(front: FrontEnd) -> Any:
    return json.loads(front.ask(b"{}", x_atelier="health").body)


def newest(front: FrontEnd) -> Reply:
    """What has come so far for the call that was sent last."""
    return list(front._replies.values())[-1][0]


def last_error(reply: Reply) -> tuple[int, str]:
    """How a stream that had begun was broken off: its last event says so, and there is no [DONE]."""
    assert reply.status == 200
    event = reply.pieces[-1].decode()
    assert event.startswith('data: {"error": ') and event.endswith("\n\n")
    error = json.loads(event.removeprefix("data: "))["error"]
    return error["code"], error["message"]


class Uncertified:
    """Of a generator that only a scheduler sees: what certificates and reports would ask of it."""

    def golden(self, params: Any) -> str:
        raise AssertionError("a scheduler asks for no golden item")

    def preview(self, seeds: Sequence[int]) -> Any:
        raise AssertionError("a scheduler asks for no preview")


class Ear:
    """Listens to a desk."""

    def __init__(self, max_response_bytes: int = 1000) -> None:
        self._unpacker = Unpacker()
        self.frames: list[Frame] = []
        self.flushed = 0
        self.desk = Desk("fake", self._put, self._flush, lambda params: f"receipt of {params.name}", max_response_bytes)

    def _put(self, data: bytes) -> None:
        self.frames += self._unpacker.feed(data)

    def _flush(self) -> None:
        self.flushed = len(self.frames)

    def of(self, number: int) -> list[Frame]:
        return [frame for frame in self.frames if frame.number == number]

    def kinds(self, number: int) -> list[Kind]:
        return [frame.kind for frame in self.of(number)]

    def data(self, number: int) -> bytes:
        return b"".join(frame.payload for frame in self.of(number) if frame.kind is Kind.DATA)

    def ends(self, number: int) -> Any:
        """How a request ended: "stop", "length", or the document of its refusal. Exactly one ending frame."""
        (end,) = (frame for frame in self.of(number) if frame.kind in (Kind.END, Kind.REFUSED))
        assert end is self.of(number)[-1], "a frame after the last one"
        document = json.loads(end.payload)
        return document["finished"] if end.kind is Kind.END else document

    def ended(self) -> list[int]:
        """Numbers in the order in which they ended."""
        return [frame.number for frame in self.frames if frame.kind in (Kind.END, Kind.REFUSED)]


def run_out(scheduler: Any, check: Callable[[], None] = lambda: None) -> int:
    """Tick until nothing is left to do; returns how often."""
    ticks = 0
    while scheduler.busy:
        assert ticks < 10_000, "the scheduler never comes to an end"
        scheduler.tick()
        check()
        ticks += 1
    return ticks


def start(generator: Any, *requests: Mapping[str, Any]) -> list[Any]:
    """A slot for each request."""
    started: list[Any] = generator.start([generator.parse(Request(request)) for request in requests])
    return started


def finish(generator: Any, slots: Sequence[Any]) -> list[bytes]:
    """Step until all are finished; what was drained of each after every step."""
    drained = [b""] * len(slots)
    while going := [slot for slot in slots if slot.finished is None]:
        generator.step(going)
        for i, slot in enumerate(slots):
            if slot in going:
                drained[i] += generator.drain(slot)
    return drained


def events(data: bytes) -> list[Any]:
    """The documents of a stream; its last event must be [DONE]."""
    parts = data.decode().split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    assert parts.pop() == "data: [DONE]"
    return [json.loads(part.removeprefix("data: ")) for part in parts]
