"""Faults of operation: what makes a launcher give up, or fools it. Each ends with an answered request and `/ready` 200.

As in benchmarks/faults.py each is a function that the `server` tests call, too.
"""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil

from benchmarks.fault_result import FaultResult, under_traffic
from benchmarks.server import JSON, Server, eventually
from serving.watch import SILENT_SECONDS

BACK_SECONDS = 180.0  # the longest pause before a start is a minute
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# Each cannot be decoded, and TorchServe logs why; some look like lines of its own log, or of the launcher's.
LOG_WORDS = (
    b"a=%zz",
    b"a=%zzLoad model failed",
    b"a=%zz\n2026-01-01T00:00:00,000 ERROR WorkerThread Load model failed: image, error: Worker died.\n",
    b"a=%zz\r\n2026-01-01T00:00:00,000 ERROR ModelServer java.lang.OutOfMemoryError: Java heap space\r\n",
    b"a=%zz\nTorchServe went away by itself; a worker died; it is started again\n",
    b"a=%zz\x1b[2J\x1b[31m" + b"x" * 4000,
)


def restarts(server: Server) -> float:
    """Times that TorchServe was started again."""
    return server.metrics()["atelier_torchserve_restarts_total"]


def kill_jvm_again(server: Server, model: str, times: int) -> FaultResult:
    """SIGKILL to TorchServe itself, and again as soon as another one runs: it is started again all the same."""

    def kill() -> None:
        for _ in range(times):
            eventually(lambda: _kill_jvm(server), BACK_SECONDS, "no JVM came")

    before = restarts(server)
    outcome = under_traffic(
        server, model, f"kill JVM {times} times in a row", kill, back_seconds=BACK_SECONDS, sudden=True
    )
    if restarts(server) - before < times:
        raise AssertionError(f"{restarts(server) - before:.0f} restarts are counted, wanted {times}")
    return outcome


def _kill_jvm(server: Server) -> bool:
    """Kill it, and return when it is gone; False if there is none now."""
    for process in server.processes():
        with contextlib.suppress(psutil.Error, IndexError):  # its workers end by themselves meanwhile
            if "java" in process.cmdline()[0]:
                process.kill()
                process.wait(30)
                return True
    return False


def log_words(server: Server, model: str) -> FaultResult:
    """Forms whose words are the log's own, then a killed JVM: no word of a caller decides whether it is started."""

    def write_and_kill() -> None:
        for form in LOG_WORDS * 5:
            server.post(form, model, FORM)
        server.jvm().kill()

    return under_traffic(
        server, model, "words of callers in the log, JVM killed", write_and_kill, back_seconds=BACK_SECONDS, sudden=True
    )


def drain_by_anybody(server: Server, model: str) -> FaultResult:
    """A caller sends the launcher's own words: whatever they do, the model answers again without a person."""

    def words() -> None:
        for word in ("drain", "hold", "release", "refuse"):
            with contextlib.suppress(OSError):  # of a hold no answer comes
                server.post({}, model, {**JSON, "X-Atelier": word}, timeout=2)

    return under_traffic(server, model, "the launcher's words from anybody", words, back_seconds=BACK_SECONDS)


def stopped_launcher(server: Server, model: str, seconds: float = SILENT_SECONDS + 5) -> FaultResult:
    """SIGSTOP to the launcher for longer than it lets a server be silent: it serves on, and is not started again."""

    def stop() -> None:
        server.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(seconds)
        finally:
            server.process.send_signal(signal.SIGCONT)

    before = restarts(server)
    outcome = under_traffic(server, model, f"launcher stopped for {seconds:.0f} s", stop)
    time.sleep(2.0)  # some looks
    if restarts(server) != before:
        raise AssertionError("the launcher took its own pause for the server's silence")
    return outcome


def fill(disk: Path) -> None:
    """Fill a file system to its last block, with files called filler-N."""
    for size in (65536, 4096, 1):
        path = disk / f"filler-{len(list(disk.glob('filler-*')))}"
        with contextlib.suppress(OSError), path.open("wb", buffering=0) as filler:
            while filler.write(bytes(size)):
                pass


def full_disk_at_restart(server: Server, disk: Path, model: str) -> FaultResult:
    """State, settings and temporary files are on a full disk as the JVM is killed; space comes back later."""

    def told() -> bool:
        fill(disk)  # again: what the killed one had unpacked makes room
        return "loss 2 in a row" in server.ready()[1]["reason"]

    def lose() -> None:
        fill(disk)
        server.jvm().kill()
        eventually(told, BACK_SECONDS, "a start on a full disk did not fail")
        for filler in disk.glob("filler-*"):
            filler.unlink()

    return under_traffic(
        server, model, "disk full, JVM killed, space again", lose, back_seconds=BACK_SECONDS, sudden=True
    )
