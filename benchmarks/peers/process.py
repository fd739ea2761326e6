"""Another server as a process: started on a free port, waited for, and ended with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from benchmarks.load import SEED
from benchmarks.server import Server
from serving.client import request
from serving.processes import dying_with

START_SECONDS = 120.0
STOP_SECONDS = 5.0
BODY = f'{{"seed": {SEED}}}'


class PeerError(RuntimeError):
    """A server that did not come up, or does not answer."""

    def __init__(self, peer: str, message: str) -> None:
        super().__init__(f"{peer} {message}")
        self.peer = peer


class Peer:
    """A server of the model over HTTP, ours or another."""

    def __init__(self, name: str, address: str, path: str, server: Server | None = None, pid: int = 0) -> None:
        self.name, self.address, self.path, self.server, self.pid = name, address, path, server, pid

    def processes(self) -> list[psutil.Process]:
        """All its processes."""
        if self.server is not None:
            return [psutil.Process(self.server.process.pid), *self.server.processes()]
        if not self.pid:
            return []
        leader = psutil.Process(self.pid)
        return [leader, *leader.children(recursive=True)]

    def idle_cores(self, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> float:
        """Processor time a second while nobody sends it requests: it is taken from its neighbours' measurement."""

        def used() -> float:
            total = 0.0
            for process in self.processes():
                with contextlib.suppress(psutil.Error):
                    times = process.cpu_times()
                    total += times.user + times.system
            return total

        before, began = used(), clock()
        time.sleep(seconds)
        return max(0.0, used() - before) / (clock() - began)


@contextmanager
def process(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, log: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` in a session of its own; at the end its whole group is ended.

    If this process is killed, the kernel sends `command` SIGTERM.
    """
    running = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=dying_with(os.getpid(), signal.SIGTERM),  # noqa: PLW1509 (system calls, already loaded)
    )
    try:
        yield running
    finally:
        _signal(running.pid, signal.SIGTERM)
        try:
            running.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:  # a second Ctrl-C included
            _signal(running.pid, signal.SIGKILL)
            running.wait()


def wait(
    peer: Peer,
    running: subprocess.Popen[bytes],
    log: IO[bytes],
    body: bytes = b'{"seed": 1}',
    wanted: bytes = b"\x89PNG",
) -> None:
    """Return when the peer answers `body` with what begins as `wanted`. Raises `PeerError` with the end of its log."""
    deadline = time.monotonic() + START_SECONDS
    seen = "nobody listened"
    while time.monotonic() < deadline:
        if running.poll() is not None:
            raise PeerError(peer.name, f"ended while it started:\n{_tail(log)}")
        try:
            answer = request(peer.address, "POST", peer.path, body, {"Content-Type": "application/json"}, 20)
            if answer.status == 200 and answer.body.startswith(wanted):
                return
            if answer.status == 200:
                raise PeerError(peer.name, f"answers {answer.body[:60]!r}, wanted {wanted!r} at its beginning")
            seen = f"it answered {answer.status}"
        except OSError as error:
            seen = str(error)
        time.sleep(0.2)
    raise PeerError(peer.name, f"served nothing within {START_SECONDS:.0f} s ({seen}):\n{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-2000:]


def _signal(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
