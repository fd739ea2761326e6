"""A proxy whose engine is no process: what it is sent is kept, what it says is given by the test."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.frames import Frame, Message, Submit, Unpacker
from handlers.proxy import service as services
from handlers.proxy.doors import Doors
from handlers.proxy.service import Service
from handlers.proxy.wire import STREAM, Call
from tests.support.frontend import DOORS, JSON, NONCE, decode
from tests.support.helpers import source_limits


class KeptEngine:
    """In place of `EngineProcess`: open, with room, and mute unless a test speaks for it."""

    def __init__(self, directory: Any, stall: float, frames: Any, lost: Any, room: Any, works: Any, home: Any) -> None:
        self.on_frames, self.on_lost, self.on_room, self.works = frames, lost, room, works
        self.state, self.reason, self.restarts, self.has_room = "ready", "the engine is open", 0, True
        self.sent: list[Frame] = []
        self.killed: list[str] = []
        self.listening: list[bool] = []
        self._unpacker = Unpacker()

    def send(self, data: bytes) -> None:
        self.sent += self._unpacker.feed(data)

    def kill(self, why: str) -> None:
        self.killed.append(why)

    def listen(self, wanted: bool) -> None:
        self.listening.append(wanted)


class Proxy:
    """One `Service` over a `KeptEngine`; frames for the front end are decoded as they are written."""

    engine: Any

    def __init__(self, monkeypatch: pytest.MonkeyPatch, doors: Doors = DOORS, **limits: int) -> None:
        monkeypatch.setattr(services, "EngineProcess", KeptEngine)
        manifest = SimpleNamespace(name="m", limits=source_limits(**limits), example={"seed": 1})
        self.frames: list[tuple[str, int, str, dict[str, str], bytes]] = []
        bundle: Any = SimpleNamespace(manifest=manifest, directory=None)
        self.service = Service(bundle, lambda data: self.frames.extend(decode(data)), doors=doors)
        self.engine = self.service.engine
        self._count = 0

    def send(self, body: bytes = b'{"seed": 1}', /, **headers: str) -> str:
        """Hand a call over; returns its id. `headers` with _ for -, over those of an ordinary request."""
        self._count += 1
        call = f"call-{self._count}"
        named = {name.replace("_", "-") if name != "url_path" else name: value for name, value in headers.items()}
        self.service.take(Call(call, {**JSON, **named}, {"body": body}))
        return call

    def word(self, word: str) -> str:
        """Say a word of the launcher's."""
        return self.send(b"{}", x_atelier=word, x_atelier_nonce=NONCE)

    def say(self, *frames: tuple[int, Message]) -> None:
        """The engine says this, in one piece."""
        self.engine.on_frames([Frame(*frame) for frame in frames])

    def of(self, call: str) -> list[tuple[int, bytes]]:
        """Status and body of every frame of a call. None comes after the last one."""
        mine = [frame for frame in self.frames if frame[0] == call]
        assert not any(frame[3].get(STREAM) == "false" for frame in mine[:-1]), "a frame after the last one"
        return [(status, body) for _, status, _, _, body in mine]

    def ended(self, call: str) -> bool:
        return any(frame[0] == call and frame[3].get(STREAM) == "false" for frame in self.frames)

    def refusal(self, call: str) -> tuple[int, str]:
        """Status and message of a call that was refused, once and to its end."""
        ((status, body), (_, nothing)) = self.of(call)
        assert self.ended(call)
        assert nothing == b""
        return status, str(json.loads(body)["message"])

    def document(self, call: str) -> Any:
        """The JSON that answers a call."""
        return json.loads(b"".join(body for _, body in self.of(call)))

    def headers(self, call: str) -> dict[str, str]:
        return next(frame[3] for frame in self.frames if frame[0] == call)

    @property
    def submitted(self) -> list[int]:
        """Numbers of the requests that the engine was handed, in order."""
        return [frame.number for frame in self.engine.sent if isinstance(frame.message, Submit)]


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs in an event loop, whose timers a proxy needs."""

    @functools.wraps(test)
    def run(*arguments: Any, **named: Any) -> None:
        asyncio.run(test(*arguments, **named))

    return run


async def until(true: Callable[[], bool], what: str, turns: int = 2000) -> None:
    """Let the event loop go on until something holds."""
    for _ in range(turns):
        if true():
            return
        await asyncio.sleep(0.005)
    raise AssertionError(what)
