"""The engine process as its proxy sees it: started, listened to, replaced when it dies or stands still.

The proxy is TorchServe's worker and must never die, because TorchServe does not recover from that in its async mode; so
everything risky happens in this child. No numpy here, nothing that takes long to import.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from handlers.frames import Beat, Failed, Frame, Ready
from handlers.identity import HOME
from handlers.proxy.doors import NONCE
from handlers.proxy.engine_link import EngineLink

BACKOFF_SECONDS = (0.05, 0.2, 1.0, 2.0, 5.0, 10.0)
STEADY_SECONDS = 10.0  # an engine that lived this long did not die of its own start
OPEN_SECONDS = 120.0
WATCH_SECONDS = 0.25
REAP_SECONDS = 5.0  # that a killed engine may take to end; one that hangs in a driver is left to the kernel
REAP_PAUSE_SECONDS = 0.01
SILENT_LOOKS = 2  # in a row: after a pause of the whole machine nothing was heard, and nothing is wrong
_KEPT_BACK = ("PYTHONPATH", NONCE)  # of the environment: search paths, and the launcher's word
# The child finds `handlers` by its place, not through a search path: the archive's stub of torch lies beside it.
_START = """
import importlib.util, sys
home, descriptor, bundle = sys.argv[1:]
spec = importlib.util.spec_from_file_location("handlers", home + "/__init__.py", submodule_search_locations=[home])
module = sys.modules["handlers"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
from handlers.engine.main import main
sys.exit(main(int(descriptor), bundle))
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
        on_room: Callable[[], None],
        works: Callable[[], bool],
        home: Path = HOME,
    ) -> None:
        self._bundle, self._stall_seconds, self._home = bundle, stall_seconds, home
        self._on_frames, self._on_lost, self._on_room, self._works = on_frames, on_lost, on_room, works
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._link: EngineLink | None = None
        self._heard = self._began = time.monotonic()
        self._silent_looks = 0
        self._stalled = self._deaf = False
        self.state, self.reason, self.restarts = "starting", "the engine is being opened", 0

    @property
    def pid(self) -> int | None:
        """The child's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Start the child; it inherits one end of a socket pair."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        environment = {k: v for k, v in os.environ.items() if k not in _KEPT_BACK}
        self._socket = ours  # closed with the engine, also with one that does not start
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START, str(self._home), str(theirs.fileno()), str(self._bundle)],
                pass_fds=(theirs.fileno(),),
                env=environment,
                stdin=subprocess.DEVNULL,
            )
        self._heard = self._began = time.monotonic()
        self._silent_looks, self._stalled = 0, False

    async def run(self) -> None:
        """Listen for ever; a child that ends is replaced after a pause that grows while it keeps dying."""
        failures = 0
        watch = asyncio.create_task(self._watch())
        try:
            while True:
                try:
                    if self._socket is None:
                        self.start()
                    await self._listen()
                except Exception as error:  # no file descriptor or process is left, say: the next try may succeed
                    log.exception("the engine cannot be started or listened to")
                    self.kill(f"the engine cannot be started or listened to: {error}")
                lived = time.monotonic() - self._began
                why = await self._buried()
                failures = 1 if lived > STEADY_SECONDS and self.state == "ready" else failures + 1
                if self.state != "failed":
                    self.state = "restarting"
                    self.reason = why
                self.restarts += 1
                log.error("%s; requests in it fail, a new one is started", why)
                try:
                    self._on_lost(why)
                except Exception:  # the next engine is started all the same
                    log.exception("what a lost engine held could not be given up")
                await asyncio.sleep(BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS)) - 1])
        finally:
            watch.cancel()
            self.stop()

    @property
    def has_room(self) -> bool:
        """Whether another request may be handed over: it is open, and little of what it was sent is on the way."""
        return self.state == "ready" and self._link is not None and self._link.has_room

    def send(self, data: bytes) -> None:
        """Hand a frame to the child; what a dying child does not take is answered by `on_lost`."""
        if self._link is not None:
            self._link.send(data)  # buffered: a child in a long step does not hold anybody up

    def listen(self, wanted: bool) -> None:
        """Take none of its frames, or take them again: nobody reads them at the moment. It is not silent meanwhile."""
        self._deaf, self._heard = not wanted, time.monotonic()
        if self._link is not None:
            self._link.listen(wanted)

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
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(REAP_SECONDS)

    def _disconnect(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        elif self._socket is not None:
            self._socket.close()
        self._socket = None

    async def _listen(self) -> None:
        """Take frames until the child is gone."""
        assert self._socket is not None
        link = EngineLink(self._take, self._on_room)
        self._link = link  # frames may come at once
        try:
            await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=self._socket)
        except BaseException:
            self._link = None  # the socket is still ours to close
            raise
        link.listen(not self._deaf)
        await link.gone.wait()
        if link.error is not None:
            self.kill(f"the engine's bytes make no sense: {link.error}")

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            # Once it is open only its own word that it is well counts: a stream may go on beside a part that hangs.
            if self.state != "ready" or isinstance(frame.message, Beat):
                self._heard = time.monotonic()
            if isinstance(frame.message, Ready):
                self.state, self.reason = "ready", "the engine is open"
            elif isinstance(frame.message, Failed):
                self.state, self.reason = "failed", frame.message.reason
        self._on_frames(frames)

    async def _buried(self) -> str:
        """Close what is left of a child that has ended; returns a sentence about its end."""
        self._disconnect()
        process, code = self._process, None
        if process is not None:
            process.kill()  # it may have closed its socket without ending
            deadline = time.monotonic() + REAP_SECONDS
            while (code := process.poll()) is None and time.monotonic() < deadline:
                await asyncio.sleep(REAP_PAUSE_SECONDS)  # in the event loop `wait` would hold up everybody
        if self._stalled or self.state == "failed":
            return self.reason
        return f"the engine died (exit code {code})"

    async def _watch(self) -> None:
        """Kill a child that says nothing while it has work, or does not open."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                self._look()
            except Exception:  # the watch goes on
                log.exception("a look at the engine failed")

    def _look(self) -> None:
        silent = 0.0 if self._deaf else time.monotonic() - self._heard
        if self.state == "ready" and self._works() and silent > self._stall_seconds:
            why = f"the engine stood still for {silent:.0f} s"
        elif self.state != "ready" and self.pid is not None and silent > OPEN_SECONDS:
            why = f"the engine did not open within {OPEN_SECONDS:.0f} s"
        else:
            self._silent_looks = 0
            return
        self._silent_looks += 1
        if self._silent_looks >= SILENT_LOOKS:
            self.kill(why)
            self._heard, self._silent_looks = time.monotonic(), 0
