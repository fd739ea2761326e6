"""The TorchServe process: the JVM itself, without the `torchserve` wrapper, which would leave it behind on SIGTERM."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from handlers.files import write_file
from serving import config, seal
from serving.client import request
from serving.clock import AwakeClock
from serving.folder import TEMPORARY, PrivateFolder
from serving.jvm import FrontEndLost, StartError, java_command
from serving.log import ServerLog
from serving.processes import alive, dying_with

STOP_SECONDS = 3.5  # the JVM's own shutdown waits longer for nothing; after this it is killed
SEAL_SECONDS = 20.0  # from the JVM's start until it has opened its ports; a second, on a quiet machine
_ISOLATE = Path(__file__).parent / "isolate.py"
END_SECONDS = 10.0  # for a killed process to be gone; one that waits for a device may take for ever
ASK_SECONDS = 5.0
ENGINE_NICE = "ATELIER_ENGINE_NICE"  # read by handlers/engine/priority.py
NONCE = "ATELIER_NONCE"  # read by handlers/proxy/doors.py
SPOOL = "ATELIER_SPOOL"  # read by handlers/spool.py
LOG_FORMAT = "ATELIER_LOG_FORMAT"  # read by handlers/logs.py and log4j2.xml
# What a worker needs of the environment. PYTHONPATH stays out: it would shadow the archive's own modules.
_KEEP_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
    "ONEDNN_MAX_CPU_ISA",
    "CUDA_VISIBLE_DEVICES",
)
_KEEP_PREFIXES = ("OPENBLAS_", "OMP_", "MKL_")


@dataclasses.dataclass(frozen=True)
class Worker:
    """A worker process as the management API tells of it; it can serve when its status is READY."""

    pid: int
    status: str


class TorchServe:
    """One TorchServe, which can be started again at the same addresses.

    `start`, then `workers`; `kill` leaves no process, `stop` no file either but the log.
    """

    def __init__(self, store: Path, log: Path, spool: Path, engine_nice: int = 0, log_format: str = "text") -> None:
        self._private = PrivateFolder()
        self.folder = self._private.path
        self.log = ServerLog(log)
        self.metrics_folder = self.folder / "metrics"  # what workers count; it outlives them
        self._store, self._spool, self._engine_nice, self._log_format = store, spool, engine_nice, log_format
        self.nonce = secrets.token_hex(16)  # what our control words carry, so that no caller's are obeyed
        try:
            self.addresses = config.addresses(self.folder)
        except BaseException:
            self._private.remove()
            raise
        self._process: subprocess.Popen[bytes] | None = None
        self.ready_workers: set[int] = set()  # process ids of those that loaded their models
        self.front = self.addresses.starting  # where inference answers now

    def start(self, archives: Sequence[Path]) -> None:
        """Start the JVM for these models; it dies with this process, even if that is killed.

        Another start of the same TorchServe appends to the log; `log_tail` shows what came since. Raises `OSError` on a
        full disk, `PortTaken` if there is no free port for gRPC.
        """
        if self.pid is not None:
            self.kill()
        self._private.put_back()  # it may have been cleaned away
        for name in ("cwd", TEMPORARY, "workflows", "metrics"):
            (self.folder / name).mkdir(exist_ok=True)
        if self._process is not None:
            self._change_ports()
        settings = self.folder / "config.properties"
        workflows = self.folder / "workflows"
        text = config.render(self.addresses, self._store, archives, workflows)
        write_file(settings, text.encode())
        output = self.log.open()
        try:
            self._process = subprocess.Popen(
                self._command(settings),
                cwd=self.folder / "cwd",  # empty: log4j2 files and snapshots in a working directory would be used
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dying_with(os.getpid()),  # noqa: PLW1509 (system calls, their functions already loaded)
            )
        finally:
            os.close(output)

    @property
    def pid(self) -> int | None:
        """The JVM's process id while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def seal(self) -> str | None:
        """Leave no TCP port to other users of the machine; returns why one stays open.

        To be called after every start. If TorchServe goes away meanwhile, `wait_loaded` says so.
        """
        where, pid = self.addresses, self.pid
        if pid is None:
            return None
        try:
            return seal.seal(pid, (where.grpc_inference_port, where.grpc_management_port), SEAL_SECONDS)
        except OSError as error:
            return None if self.pid is None else f"{seal.REACHED} (nothing can be learned of its ports: {error})"

    def workers(self) -> dict[str, list[Worker]]:
        """Every worker by model name. Raises `OSError` while nothing listens."""
        workers: dict[str, list[Worker]] = {}
        try:
            names = json.loads(self._manage("/models?limit=1000"))["models"]
            for name in (entry["modelName"] for entry in names):
                versions = json.loads(self._manage(f"/models/{name}/all"))
                found = [worker for version in versions for worker in version["workers"]]
                workers[name] = [Worker(worker["pid"], worker["status"]) for worker in found]
        except (ValueError, KeyError, TypeError) as error:
            raise OSError(f"management API: an answer that is none ({error!r})") from None
        return workers

    def publish(self) -> None:
        """Let callers in: the socket gets its public name, in one step."""
        if self.front != self.addresses.inference:
            os.rename(self.front.removeprefix("unix:"), self.addresses.inference.removeprefix("unix:"))
            self.front = self.addresses.inference

    def wait_loaded(self, expected: set[str], seconds: float, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Return when every worker of every expected model is READY. Raises `StartError`, and what `meanwhile` raises.

        A worker whose model refuses to load ends, and TorchServe starts no other in its async mode: waiting is no use.
        """
        # A look asks once, and once more for every model; what takes longer was a stop of this process.
        clock, seen = AwakeClock(ASK_SECONDS * (len(expected) + 2)), "nothing answered"
        while clock() < seconds:
            meanwhile()
            if self.pid is None:
                raise self._exited()
            try:
                workers = self.workers()
                seen = f"workers: {workers}"
                if set(workers) >= expected and all(
                    w and all(x.status == "READY" for x in w) for w in workers.values()
                ):
                    self.ready_workers = {x.pid for w in workers.values() for x in w}
                    return
                ended = [name for name, of in workers.items() if any(w.pid > 0 and not alive(w.pid) for w in of)]
                if ended:
                    raise StartError(f"{', '.join(ended)} cannot be loaded, the worker ended:\n{self.log_tail(40)}")
            except OSError as error:
                seen = str(error)
            time.sleep(0.1)
        raise StartError(f"not every model was ready after {seconds:.0f} s ({seen}):\n{self.log_tail()}")

    def kill(self) -> None:
        """End everything now and clear the way for another start. Raises `StartError` if it does not end."""
        self._end_now()
        for name in ("cwd", TEMPORARY):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        self.front = self.addresses.starting
        for left in (*self.folder.glob("*.sock"), *self.metrics_folder.glob("gauge_live*.db")):
            left.unlink(missing_ok=True)

    def _end_now(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            pid = self._process.pid
            raise StartError(f"TorchServe, process {pid}, did not end within {END_SECONDS:.0f} s of SIGKILL") from None
        finally:
            self._end_group(self._process.pid)

    def stop(self) -> None:
        """SIGTERM to the JVM, SIGKILL to whatever of its session is left after a bounded wait; then the files go."""
        try:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
            self._end_now()
        finally:
            self._private.remove()
            self.log.close()

    def _end_group(self, group: int) -> None:
        """Kill what is left of the JVM's session (workers go by themselves when it does, unless they are stuck)."""
        deadline = time.monotonic() + 0.5
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline:
                os.killpg(group, 0)
                time.sleep(0.02)
            os.killpg(group, signal.SIGKILL)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines that this start wrote to the log, for an error message."""
        return self.log.tail(lines)

    def _exited(self) -> StartError:
        """TorchServe exited while it started: by itself, or because somebody killed it."""
        assert self._process is not None
        code = self._process.returncode
        kind, how = (FrontEndLost, f"was killed ({signal.Signals(-code).name})") if code < 0 else (StartError, "exited")
        return kind(f"TorchServe {how} while it started:\n{self.log_tail()}")

    def _change_ports(self) -> None:
        """Look for free ports again before another start: somebody may have taken these."""
        inference, management = config.free_ports(2)
        self.addresses = dataclasses.replace(
            self.addresses, grpc_inference_port=inference, grpc_management_port=management
        )

    def _manage(self, path: str) -> bytes:
        answer = request(self.addresses.management, "GET", path, timeout=ASK_SECONDS)
        if answer.status != 200:
            raise OSError(f"management API: {path} answered {answer.status}")
        return answer.body

    def _command(self, settings: Path) -> list[str]:
        options = [
            f"-Dlog4j.configurationFile={config.LOG_CONFIG.as_uri()}",
            f"-Djava.io.tmpdir={self.folder / TEMPORARY}",
            "-XX:-UsePerfData",  # it would be a file in /tmp, for everybody to see, that a killed JVM leaves
            *config.properties()["vmargs"].split(),
        ]
        command = java_command(options, settings, self._store.resolve(), self.folder / "workflows")
        return [sys.executable, "-I", "-S", str(_ISOLATE), *command]

    def _environment(self) -> dict[str, str]:
        kept = {k: v for k, v in os.environ.items() if k in _KEEP_ENVIRONMENT or k.startswith(_KEEP_PREFIXES)}
        temporary = str(self.folder / TEMPORARY)
        return {
            **kept,
            "LC_ALL": "C.UTF-8",  # Java decodes paths by it: without, it finds none that has an umlaut
            "TMPDIR": temporary,
            "TEMP": temporary,
            "LOG_LOCATION": temporary,
            "METRICS_LOCATION": temporary,
            "PROMETHEUS_MULTIPROC_DIR": str(self.metrics_folder),
            ENGINE_NICE: str(self._engine_nice),
            NONCE: self.nonce,
            SPOOL: str(self._spool),
            LOG_FORMAT: self._log_format,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
