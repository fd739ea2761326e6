"""The engine process as its proxy sees it: started, listened to, replaced when it dies or stands still.

The proxy is TorchServe's worker and must never die, because TorchServe does not recover from that in its async mode; so
everything risky happens in this child. No numpy here, nothing that takes long to import.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from handlers.frames import Failed, Frame, Ready, Unpacker
from handlers.identity import HOME

BACKOFF_SECONDS = (0.05, 0.2, 1.0, 2.0, 5.0, 10.0)
STEADY_SECONDS = 10.0  # an engine that lived this long did not die of its own start
OPEN_SECONDS = 120.0
WATCH_SECONDS = 0.25
# The child finds `handlers` by its place, not through a search path: the archive's stub of torch lies beside it.
_START = """
import importlib.util, sys
home, descriptor, parent, bundle = sys.argv[1:]
spec = importlib.util.spec_from_file_location("handlers", home + "/__init__.py", submodule_search_locations=[home])
module = sys.modules["handlers"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from handlers.engine.main import main
sys.exit(main(int(descriptor), bundle, int(parent)))
"""
log = logging.getLogger(__name__)


class EngineProcess:
    """Keeps one engine process alive. `start`, then `run` as a task; `state` and `reason` say how it is."""

    def __init__(
        self,
        bundle: Path,
        stall_seconds: float,
        on_frames: Callable[[list[Frame]], None],
        on_lost: Callable[[str], None],
        works: Callable[[], bool],
        home: Path = HOME,
    ) -> None:
        self._bundle, self._stall_seconds, self._home = bundle, stall_seconds, home
        self._on_frames, self._on_lost, self._works = on_frames, on_lost, works
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._heard = self._began = time.monotonic()
        self._stalled = False
        self.state, self.reason, self.restarts = "starting", "the engine is being opened", 0

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the child; it inherits one end of a socket pair."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        with theirs:
            own = (str(theirs.fileno()), str(os.getpid()))
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(self._home), *own, str(self._bundle)],
                pass_fds=(theirs.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        self._socket = ours
        self._heard = self._began = time.monotonic()
        self._stalled = False

    async def run(self) -> None:
        """Listen for ever; a child that ends is replaced after a pause that grows while it keeps dying."""
        failures = 0
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                if self._socket is None:
                    self.start()
                await self._listen()
                lived = time.monotonic() - self._began
                why = self._buried()
                failures = 1 if lived > STEADY_SECONDS and self.state == "ready" else failures + 1
                if self.state != "failed":
                    self.state = "restarting"
                    self.reason = why
                self.restarts += 1
                log.error("%s; requests in it fail, a new one is started", why)
                self._on_lost(why)
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1])
        finally:
            watch.cancel()
            self.stop()

    def send(self, data: bytes) -> None:
        """Hand a frame to the child; what a dying child does not take is answered by `on_lost`."""
        if self._writer is not None:
            self._writer.write(data)  # buffered: a child in a long step does not hold anybody up

    def kill(self, why: str) -> None:
        """End the child now; `run` replaces it."""
        self._stalled, self.reason = True, why
        if self._process is not None:
            self._process.kill()

    def stop(self) -> None:
        """End the child for good."""
        self._disconnect()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _disconnect(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        elif self._socket is not None:
            self._socket.close()
        self._socket = None

    async def _listen(self) -> None:
        """Take frames until the child is gone."""
        assert self._socket is not None
        reader, self._writer = await asyncio.open_unix_connection(sock=self._socket)
        unpacker = Unpacker()
        while True:
            try:
                data = await reader.read(1 << 18)
                frames = unpacker.feed(data)
            except OSError:  # it died with frames unread
                return
            except ValueError as error:
                self.kill(f"the engine's bytes make no sense: {error}")
                return
            if not data:
                return
            self._heard = time.monotonic()
            for frame in frames:
                if isinstance(frame.message, Ready):
                    self.state, self.reason = "ready", "the engine is open"
                elif isinstance(frame.message, Failed):
                    self.state, self.reason = "failed", frame.message.reason
            self._on_frames(frames)

    def _buried(self) -> str:
        """Close what is left of a child that has ended; returns a sentence about its end."""
        assert self._process is not None
        self._disconnect()
        self._process.kill()  # it may have closed its socket without ending
        code = self._process.wait()
        if self._stalled or self.state == "failed":
            return self.reason
        return f"the engine died (exit code {code})"

    async def _watch(self) -> None:
        """Kill a child that says nothing while it has work, or does not open."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            silent = time.monotonic() - self._heard
            if self.state == "ready" and self._works() and silent > self._stall_seconds:
                self.kill(f"the engine stood still for {silent:.0f} s")
                self._heard = time.monotonic()
            elif self.state != "ready" and self.pid is not None and silent > OPEN_SECONDS:
                self.kill(f"the engine did not open within {OPEN_SECONDS:.0f} s")
                self._heard = time.monotonic()
