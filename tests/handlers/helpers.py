"""What several tests of handlers/ need: bundles with other limits, the front end's bytes, a desk that is listened to."""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.desk import Desk
from handlers.frames import Frame, Kind, Unpacker
from handlers.wire import Call


def rewritten(bundle: Bundle, folder: Path, batch_size: int | None = None, **limits: int) -> Bundle:
    """The bundle with other limits, on disk: the engine process reads it from there."""
    old = bundle.manifest
    resources = dataclasses.replace(old.resources, batch_size=batch_size or old.resources.batch_size)
    manifest = dataclasses.replace(old, limits={**old.limits, **limits}, resources=resources)
    contents = {spec.path: bundle.read_file(key) for key, spec in old.files.items()}
    contents[old.certificate.path] = (bundle.directory / old.certificate.path).read_bytes()
    bundles.write(folder / old.name, manifest, contents)
    return bundles.read(folder / old.name)


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
