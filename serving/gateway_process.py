"""The gateway as a process beside TorchServe: started, asked for signs of life, started again, drained before it ends.

Nothing of its package is imported: it is a command with its settings in the environment, and all that it tells is the
address on which it listens, in a file. It dies with this process, even if that is killed.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serving.client import request
from serving.clock import AwakeClock
from serving.jvm import StartError
from serving.log import ServerLog
from serving.losses import Losses
from serving.processes import dying_with
from serving.status import Status

LOG, ADDRESS = "gateway.log", "gateway.address"  # in the run directory
SETTING = "ATELIER_GATEWAY_"  # what the gateway's settings are called in its environment
POLL_SECONDS = 0.1
LOOK_SECONDS = 1.0
ASK_SECONDS = 5.0
FIRST_SECONDS = 30.0  # from a start to the first sign of life, on a machine under load
SILENT_SECONDS = 15.0  # without one it is killed; its event loop answers in milliseconds
GRACE_SECONDS = 5.0  # beyond the drain that it was told


class GatewayProcess:
    """One gateway, kept running by a thread of its own from `start` to `stop`."""

    def __init__(
        self,
        run_dir: Path,
        settings: Path | None,
        spool: Path,
        drain_seconds: float,
        status: Status,
        say: Callable[[str], None],
    ) -> None:
        self._run_dir, self._settings, self._spool = run_dir.absolute(), settings, spool
        self._drain_seconds = drain_seconds
        self._status, self._say = status, say
        self._log = ServerLog(self._run_dir / LOG)
        self._losses = Losses()
        self._stopping, self._changed = threading.Event(), threading.Condition()
        self._failed: str | None = None  # why the very first start came to nothing
        # The kernel ends the process with the thread that started it, so that one lasts.
        self._thread = threading.Thread(target=self._keep, name="gateway", daemon=True)
        self.address: str | None = None  # once it has answered
        self.pid: int | None = None

    @property
    def stop_seconds(self) -> float:
        """The longest that `stop` may take."""
        return self._drain_seconds + 2 * GRACE_SECONDS

    def start(self) -> None:
        """Begin; further calls change nothing."""
        if self._thread.ident is None:
            self._status.gateway, self._status.gateway_trouble = None, "the gateway is starting"
            self._thread.start()

    def check(self) -> None:
        """Raise `StartError` if it ended before it ever answered: what is wrong with it was wrong from the start."""
        if self._failed is not None:
            raise StartError(f"the gateway did not come up: {self._failed}")

    def wait_answering(self) -> str:
        """Return its address once it has answered. Raises `StartError` where it never does."""
        with self._changed:
            self._changed.wait_for(lambda: self.address is not None or self._failed is not None)
        self.check()
        assert self.address is not None
        return self.address

    def stop(self) -> None:
        """Have it drain, wait as long as it was told that this may take, and end it."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._log.close()
        (self._run_dir / ADDRESS).unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._stopping.is_set():
            try:
                why = self._run_once()
            except Exception as error:  # a full disk, too few processes: the next start may find it better
                why = f"{type(error).__name__}: {error}"
            self.pid = None
            if self._stopping.is_set():
                return
            with self._changed:
                if self.address is None:
                    self._failed = f"{why}\n{self._log.tail()}"
                    self._changed.notify_all()
                    return
            self._tell_loss(why)
            self._stopping.wait(self._losses.pause)

    def _tell_loss(self, why: str) -> None:
        self._losses.lost()
        pause = self._losses.pause
        at = (datetime.now(UTC) + timedelta(seconds=pause)).strftime("%H:%M:%S")
        when = "now" if pause == 0 else f"in {pause:.0f} s, at {at} UTC"
        told = f"the gateway is started again {when}: {why} (loss {self._losses.count} in a row)"
        self._status.gateway_trouble = told
        self._status.gateway_restarts += 1
        self._say(f"{told}\n{self._log.tail()}")

    def _run_once(self) -> str:
        """From a start to its end; returns why it ended, where this was not wanted."""
        (self._run_dir / ADDRESS).unlink(missing_ok=True)
        output = self._log.open()
        try:
            process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the launcher's to pass on
                preexec_fn=dying_with(os.getpid()),  # noqa: PLW1509 (system calls, their functions already loaded)
            )
        finally:
            os.close(output)
        self.pid = process.pid
        self._losses.serving()
        try:
            return self._watch(process)
        finally:
            process.kill()
            process.wait()

    def _command(self) -> list[str]:
        own = [] if self._settings is None else ["--settings", str(self._settings)]
        return [sys.executable, "-m", "gateway", "serve", *own]

    def _environment(self) -> dict[str, str]:
        ours = {
            "RUN_DIR": str(self._run_dir),
            "ADDRESS_FILE": str(self._run_dir / ADDRESS),
            "SPOOL": str(self._spool),  # the engines are told the same
            "DRAIN_SECONDS": f"{self._drain_seconds:g}",
        }
        if self.address is not None:  # callers know it
            ours["PORT"] = self.address.rpartition(":")[2]
        return {**os.environ, "PYTHONUNBUFFERED": "1", **{SETTING + key: value for key, value in ours.items()}}

    def _watch(self, process: subprocess.Popen[bytes]) -> str:
        clock, looked = AwakeClock(2 * ASK_SECONDS), time.monotonic()
        heard, limit = clock(), FIRST_SECONDS
        while (code := process.poll()) is None:
            if self._stopping.wait(POLL_SECONDS):
                self._drain(process)
                return ""
            if limit == SILENT_SECONDS and time.monotonic() - looked < LOOK_SECONDS:
                clock()
                continue
            looked = time.monotonic()
            with contextlib.suppress(OSError):
                self._log.bound()
            if (address := self._answering()) is not None:
                heard, limit = clock(), SILENT_SECONDS
                self._answers(address)
            elif (silent := clock() - heard) > limit:
                return f"it gave no sign of life for {silent:.0f} s"
        return f"it was killed by signal {-code}" if code < 0 else f"it ended with exit code {code}"

    def _answering(self) -> str | None:
        """Its address, if it answers there: what it says there about its models is no matter here."""
        try:
            address = (self._run_dir / ADDRESS).read_text().strip()
            request(address, "GET", "/healthz", timeout=ASK_SECONDS)
        except ssl.SSLCertVerificationError:  # a certificate for its public name: whoever shows one lives
            return address
        except OSError:
            return None
        return address

    def _answers(self, address: str) -> None:
        self._status.gateway, self._status.gateway_trouble = address, None
        with self._changed:
            self.address = address
            self._changed.notify_all()

    def _drain(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            process.wait(self._drain_seconds + GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._say(f"the gateway had not drained after {self._drain_seconds + GRACE_SECONDS:g} s; it was killed")
