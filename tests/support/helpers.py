"""Helpers of several tests of handlers/: bundles with other limits, the front end's bytes, collected replies."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from handlers.bundle import Bundle
from handlers.engine.replies import Replies
from handlers.frames import Data, End, Frame, Message, Refused, Unpacker
from handlers.generator import Model, Request
from handlers.limits import SourceLimits
from handlers.proxy.wire import Call
from tests.support import sabotage
from tests.support.frontend import FrontEnd, Reply
from tests.support.sabotage import SLOW


def rewritten(bundle: Bundle, folder: Path, batch_size: int | None = None, **limits: int) -> Bundle:
    """The bundle with other limits, on disk: the engine process reads it from there."""
    return sabotage.rewritten(bundle, folder, bundle.manifest.name, batch_size, **limits)


def source_limits(**limits: int) -> SourceLimits:
    """Limits of text from text, small ones but for those given."""
    small = {
        "max_tile": 4,
        "max_slots": 4,
        "max_queue": 4,
        "max_seconds": 10,
        "max_compute_seconds": 10,
        "max_request_bytes": 65536,
        "max_response_bytes": 65536,
        "max_source": 8,
        "max_source_bytes": 64,
        "source_multiple": 64,
        "max_stop": 4,
        "max_stop_characters": 64,
    }
    return SourceLimits(**{**small, **limits})


def with_limits(model: Model, **limits: int) -> Model:
    """The model with other limits."""
    return dataclasses.replace(model, limits=dataclasses.replace(model.limits, **limits))  # type: ignore[arg-type]


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
    """Listens to what a scheduler replies."""

    def __init__(self, max_response_bytes: int = 1000) -> None:
        self._unpacker = Unpacker()
        self.frames: list[Frame] = []
        self.flushed = 0
        self.replies = Replies("fake", self._put, self._flush, self._receipt, max_response_bytes)

    def _receipt(self, params: Any) -> str:
        if params.name == "unsigned":
            raise ValueError("the receipt broke")
        return f"receipt of {params.name}"

    def _put(self, data: bytes) -> None:
        self.frames += self._unpacker.feed(data)

    def _flush(self) -> None:
        self.flushed = len(self.frames)

    def of(self, number: int) -> list[Frame]:
        return [frame for frame in self.frames if frame.number == number]

    def kinds(self, number: int) -> list[type[Message]]:
        return [type(frame.message) for frame in self.of(number)]

    def data(self, number: int) -> bytes:
        return b"".join(frame.message.body for frame in self.of(number) if isinstance(frame.message, Data))

    def ends(self, number: int) -> End | Refused:
        """How a request ended. Exactly one ending frame."""
        (end,) = (frame.message for frame in self.of(number) if isinstance(frame.message, End | Refused))
        assert end is self.of(number)[-1].message, "a frame after the last one"
        return end

    def refusal(self, number: int) -> Refused:
        end = self.ends(number)
        assert isinstance(end, Refused)
        return end

    def ended(self) -> list[int]:
        """Numbers in the order in which they ended."""
        return [frame.number for frame in self.frames if isinstance(frame.message, End | Refused)]


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
