"""One run from start to stop: check the store, start, warm, prove, watch, stop."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from serving import config, store
from serving.client import request
from serving.metrics import Merged
from serving.status import Status, StatusServer
from serving.store import Model, StoreError
from serving.torchserve import FOLDER_PREFIX, StartError, TorchServe
from serving.warm import ENTRIES, warm, warm_refusals, widen
from serving.watch import Watch, drain, probe

STATE = "state.json"
LOCK = "lock"
LOAD_SECONDS = 75.0
WATCH_SECONDS = 0.5
EVERY_MODEL = "every model answered a real request"
MAX_RESTARTS = 5  # within the window; after that whatever supervises the launcher should look
RESTART_WINDOW_SECONDS = 300.0
RESTART_PAUSES = (0.0, 1.0, 2.0, 5.0)

Say = Callable[[str], None]


class AlreadyRunning(RuntimeError):
    """Another launcher holds this run directory."""


def read_state(run_dir: Path) -> dict[str, object] | None:
    """State of the launcher that runs in `run_dir`, or None; a state whose process is gone counts as none."""
    try:
        state: dict[str, object] = json.loads((run_dir / STATE).read_text())
        process = psutil.Process(int(str(state["pid"])))
        return state if abs(process.create_time() - float(str(state["pid_created"]))) < 1 else None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None


def up(
    model_store: Path,
    run_dir: Path,
    dev: bool,
    port: int,
    status_port: int,
    say: Say = print,
    drain_seconds: float = 10.0,
) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; returns 0 after a clean stop, 1 if TorchServe cannot be kept running.

    Raises `StoreError`, `PortTaken`, `AlreadyRunning` or `StartError` when it cannot serve.
    """
    for number, option in ((port, "--port"), (status_port, "--status-port")):
        config.check_port(number, option)
    with _only_one(run_dir), _Signals() as signals:
        try:
            launch = Launch(model_store, run_dir, port if dev else None, status_port, say)
        except StopRequested:
            return 0
        return launch.run(signals, drain_seconds)


class FrontEndLost(StartError):
    """TorchServe's front end failed while it was prepared: another start may succeed, even if this was the first."""


class Launch:
    """One run: TorchServe is started, watched and, when it is lost, started again at the same addresses."""

    def __init__(self, model_store: Path, run_dir: Path, dev_port: int | None, status_port: int, say: Say) -> None:
        self._model_store, self._run_dir, self._say = model_store, run_dir, say
        self._dev_port, self._status_port = dev_port, status_port
        self._status = Status()
        self._torchserve: TorchServe | None = None
        self._server: StatusServer | None = None
        self._merged: Merged | None = None
        self._models: list[Model] = []
        self._watched = self._told = False

    def run(self, signals: _Signals, drain_seconds: float) -> int:
        """Serve until a signal comes; everything that was started is stopped on the way out."""
        code = 0
        try:
            code = self._keep_serving()
        except StopRequested:
            self._say("stopping")
        finally:
            signals.ignore()  # from here on everything goes away in any case
            self._status.set(False, "stopping")
            if self._torchserve is not None:
                if self._watched and (left := drain(self._torchserve, self._models, drain_seconds)):
                    self._say(f"{left:.0f} requests were not finished after {drain_seconds:.0f} s")
                self._torchserve.stop()
            (self._run_dir / STATE).unlink(missing_ok=True)
            if self._server is not None:
                self._server.close()
        self._say("stopped; nothing is left running")
        return code

    def _keep_serving(self) -> int:
        lost_at: list[float] = []
        while True:
            try:
                why = self._serve_once()
            except (StartError, StoreError) as error:
                if not lost_at and not isinstance(error, FrontEndLost):
                    raise
                why = str(error)
            lost_at = [at for at in lost_at if time.monotonic() - at < RESTART_WINDOW_SECONDS] + [time.monotonic()]
            self._watched = False
            self._status.set(False, f"TorchServe is started again: {why}")
            self._say(f"{why}; it is started again\n{self._torchserve.log_tail() if self._torchserve else ''}")
            if len(lost_at) > MAX_RESTARTS:
                self._say(f"it was lost {len(lost_at)} times in {RESTART_WINDOW_SECONDS / 60:.0f} minutes: giving up")
                return 1
            if self._torchserve is not None:
                self._torchserve.kill()
                self._status.torchserve_restarts += 1
            time.sleep(RESTART_PAUSES[min(len(lost_at), len(RESTART_PAUSES)) - 1])

    def _serve_once(self) -> str:
        """From archives to a server that answers, then watch it; returns why it was lost."""
        began = time.monotonic()
        found = store.read(self._model_store, int(config.properties()["max_response_size"]))
        self._models = found.models
        if self._torchserve is None:
            store.check_memory(self._models)
            self._torchserve = TorchServe(self._model_store, self._run_dir / "torchserve.log", self._dev_port)
        torchserve, names = self._torchserve, [model.manifest.name for model in self._models]
        if self._merged is None or self._server is None:
            self._merged = Merged(torchserve, self._status)
            self._server = StatusServer(self._status, self._merged, self._status_port)
        self._merged.front_end_begins()
        torchserve.start(
            [model.archive for model in self._models],
            max(model.manifest.limits.max_request_bytes for model in self._models),
        )
        _write_state(self._run_dir, torchserve, self._server, self._models)
        self._say(f"starting TorchServe with {', '.join(names)}")
        if found.problem:
            self._say(found.problem)
        self._status.set(False, "loading", dict.fromkeys(names, "loading"), found.refused)
        torchserve.wait_loaded(set(names), LOAD_SECONDS)
        loaded = time.monotonic()
        self._status.set(False, "warming")
        warmed = self._warm(names)
        problem, words = probe(torchserve, self._models)
        if problem is not None:
            raise StartError(f"{problem}\n{torchserve.log_tail()}")
        torchserve.publish()
        self._status.set(True, EVERY_MODEL, words)
        self._say(
            f"ready after {time.monotonic() - began:.1f} s ({loaded - began:.1f} s start, "
            f"{time.monotonic() - loaded:.1f} s warm-up with {warmed})"
        )
        if not self._told:
            self._say(usage(torchserve.addresses.inference, self._server.address, self._models))
            self._told = True
        return self._watch()

    def _warm(self, names: list[str]) -> str:
        assert self._torchserve is not None
        try:
            for name in names:
                if (held := widen(self._torchserve.front, name)) != ENTRIES:
                    raise ValueError(f"the front end held {held} requests to {name} at once, wanted {ENTRIES}")
            pings, refusals = warm(self._torchserve.front, names), warm_refusals(self._torchserve.front, names)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            tail = self._torchserve.log_tail()
            raise FrontEndLost(f"the front end died while it was warmed: {error!r}\n{tail}") from error
        if not pings or not refusals:
            found = (
                f"{pings} pings were answered and {refusals} requests refused during the warm-up, wanted some of either"
            )
            raise FrontEndLost(f"{found}\n{self._torchserve.log_tail()}")
        return f"{pings} pings and {refusals} refusals"

    def _watch(self) -> str:
        assert self._torchserve is not None
        watch, well = Watch(self._torchserve, self._models), True
        self._watched = True
        while True:
            time.sleep(WATCH_SECONDS)
            look = watch.look()
            if look.lost is not None:
                return look.lost
            if look.problem is not None:
                self._status.set(False, look.problem)
                well = False
            elif not well:  # ready again only after a real answer of every model
                problem, words = probe(self._torchserve, self._models)
                self._status.set(problem is None, problem or EVERY_MODEL, words)
                well = problem is None


def down(run_dir: Path, seconds: float = 15.0) -> bool:
    """Stop the launcher that runs in `run_dir`; False if there is none. Raises `StartError` if it does not stop."""
    state = read_state(run_dir)
    if state is None:
        return False
    pid = int(str(state["pid"]))
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while _alive(pid):
        if time.monotonic() > deadline:
            raise StartError(f"process {pid} did not stop within {seconds:.0f} s; its log is in {run_dir}")
        time.sleep(0.05)
    return True


def wait_ready(run_dir: Path, seconds: float, pid: int | None = None) -> dict[str, object]:
    """Return the state once `/ready` answers 200. Raises `StartError` after `seconds`, or when process `pid` is gone."""
    deadline = time.monotonic() + seconds
    seen = "no server has started here"
    while time.monotonic() < deadline:
        state = read_state(run_dir)
        if state is not None and (pid is None or state["pid"] == pid):  # not another launcher's readiness
            try:
                answer = request(str(state["status"]), "GET", "/ready", timeout=5)
                if answer.status == 200:
                    return state
                seen = answer.body.decode(errors="replace")
            except OSError as error:
                seen = str(error)
        if pid is not None and not _alive(pid):
            raise StartError(f"process {pid} is gone before it was ready ({seen})")
        time.sleep(0.1)
    raise StartError(f"not ready after {seconds:.0f} s: {seen}")


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def usage(inference: str, ready: str, models: list[Model]) -> str:
    """How to call what is served, as commands to copy."""
    where = f"--unix-socket {shlex.quote(inference.removeprefix('unix:'))} http://localhost"
    base = inference if inference.startswith("http") else where
    lines = [f"is it ready?   curl {ready}/ready", f"what it counts: curl {ready}/metrics"]
    for model in models:
        body = shlex.quote(json.dumps(model.manifest.example))
        path = f"{base}/predictions/{model.manifest.name}"
        lines.append(
            f"call {model.manifest.name}:   curl -H 'Content-Type: application/json' -d {body} {path} -o answer"
        )
        lines.append(f"look at it:    python -m serving try {model.manifest.name} --seed 7")
    return "\n".join(["", *lines, "", "stop with Ctrl-C, or `python -m serving down` from elsewhere"])


def _write_state(run_dir: Path, torchserve: TorchServe, server: StatusServer, models: list[Model]) -> None:
    state = {
        "pid": os.getpid(),
        "pid_created": psutil.Process().create_time(),
        "inference": torchserve.addresses.inference,
        "management": torchserve.addresses.management,
        "status": server.address,
        "torchserve_pid": torchserve.pid,
        "folder": str(torchserve.folder),
        "metrics": f"{server.address}/metrics",
        "models": {model.manifest.name: model.version for model in models},
    }
    run_dir.mkdir(parents=True, exist_ok=True)
    temporary = run_dir / f".{STATE}.{os.getpid()}"
    temporary.write_text(json.dumps(state, indent=1))
    os.replace(temporary, run_dir / STATE)


class StopRequested(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP came: whatever the launcher is waiting for, it stops now."""


class _Signals:
    """While entered, the stopping signals raise `StopRequested`, until `ignore` is called."""

    def __init__(self) -> None:
        self._ignored = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            self._before[number] = signal.signal(number, self._raise)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def ignore(self) -> None:
        """Let further signals pass without effect: stopping is under way."""
        self._ignored = True

    def _raise(self, *_: object) -> None:
        if not self._ignored:
            raise StopRequested


@contextmanager
def _only_one(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock, and clear away what a killed launcher left. Raises `AlreadyRunning`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            running = read_state(run_dir)
            who = f"process {running['pid']}" if running else "another process that is starting"
            raise AlreadyRunning(f"already running as {who}; stop it with `python -m serving down`") from None
        with contextlib.suppress(OSError, ValueError, KeyError):
            left = Path(json.loads((run_dir / STATE).read_text())["folder"])
            if left.name.startswith(FOLDER_PREFIX):
                shutil.rmtree(left, ignore_errors=True)
            (run_dir / STATE).unlink()
        yield
