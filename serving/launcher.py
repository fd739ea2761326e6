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
from serving.status import Status, StatusServer
from serving.store import Model
from serving.torchserve import FOLDER_PREFIX, StartError, TorchServe
from serving.warm import warm

STATE = "state.json"
LOCK = "lock"
LOAD_SECONDS = 75.0
PROBE_SECONDS = 30.0
WATCH_SECONDS = 0.5

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


def up(model_store: Path, run_dir: Path, dev: bool, port: int, status_port: int, say: Say = print) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; returns 0 after a clean stop, 1 if TorchServe went away by itself.

    Raises `StoreError`, `PortTaken`, `AlreadyRunning` or `StartError` when it cannot serve.
    """
    for number, option in ((port, "--port"), (status_port, "--status-port")):
        config.check_port(number, option)
    with _only_one(run_dir), _Signals() as signals:
        try:
            return _up(model_store, run_dir, port if dev else None, status_port, signals, say)
        except StopRequested:  # while the archives were read
            say("stopped before anything was started")
            return 0


def _up(model_store: Path, run_dir: Path, dev_port: int | None, status_port: int, signals: _Signals, say: Say) -> int:
    began = time.monotonic()
    models = store.read(model_store, int(config.properties()["max_response_size"]))
    store.check_memory(models)
    status = Status()
    server: StatusServer | None = None
    torchserve: TorchServe | None = None
    code = 0
    try:
        torchserve = TorchServe(model_store, [model.archive for model in models], run_dir / "torchserve.log", dev_port)
        torchserve.start()
        server = StatusServer(status, status_port)
        _write_state(run_dir, torchserve, server, models)
        code = _serve(torchserve, models, status, server, began, say)
    except StopRequested:
        say("stopping")
    finally:
        signals.ignore()  # from here on everything goes away in any case
        status.set(False, "stopping")
        if torchserve is not None:
            torchserve.stop()
        (run_dir / STATE).unlink(missing_ok=True)
        if server is not None:
            server.close()
    say("stopped; nothing is left running")
    return code


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


def _serve(
    torchserve: TorchServe,
    models: list[Model],
    status: Status,
    server: StatusServer,
    began: float,
    say: Say,
) -> int:
    names = [model.manifest.name for model in models]
    say(f"starting TorchServe with {', '.join(names)}")
    status.set(False, "loading", dict.fromkeys(names, "loading"))
    torchserve.wait_loaded(set(names), LOAD_SECONDS)
    loaded = time.monotonic()
    status.set(False, "warming")
    try:
        pings = warm(torchserve.addresses.inference, names)
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        raise StartError(f"the front end died while it was warmed: {error!r}\n{torchserve.log_tail()}") from error
    if pings == 0:
        raise StartError(f"no ping was answered during the warm-up\n{torchserve.log_tail()}")
    problem = _probe(torchserve, models, status)
    if problem is not None:
        raise StartError(f"{problem}\n{torchserve.log_tail()}")
    say(
        f"ready after {time.monotonic() - began:.1f} s ({loaded - began:.1f} s start, "
        f"{time.monotonic() - loaded:.1f} s warm-up with {pings} pings)"
    )
    say(usage(torchserve.addresses.inference, server.address, models))
    workers = _ready_workers(torchserve, names)
    while True:
        time.sleep(WATCH_SECONDS)
        if torchserve.pid is None:
            say(f"TorchServe went away by itself:\n{torchserve.log_tail()}")
            return 1
        now = _ready_workers(torchserve, names)
        if now is None or now != workers:  # a worker is down, or was replaced since the last look
            status.set(False, "a worker restarts")
            workers = now
        elif not status.get()[0]:
            _probe(torchserve, models, status)  # ready again only after a real answer of every model


def _ready_workers(torchserve: TorchServe, names: list[str]) -> set[int] | None:
    """Process ids of all workers, or None unless every model has workers and all of them are READY."""
    try:
        workers = torchserve.workers()
    except OSError:
        return None
    if not all(workers.get(name) and all(w.status == "READY" for w in workers[name]) for name in names):
        return None
    return {worker.pid for name in names for worker in workers[name]}


def _probe(torchserve: TorchServe, models: list[Model], status: Status) -> str | None:
    """One real request to every model; sets the status and returns the first problem."""
    words = {}
    problem = None
    for model in models:
        name = model.manifest.name
        try:
            answer = request(
                torchserve.addresses.inference,
                "POST",
                f"/predictions/{name}",
                json.dumps(model.manifest.example).encode(),
                {"Content-Type": "application/json"},
                PROBE_SECONDS,
            )
            words[name] = "ready" if answer.status == 200 else f"answered {answer.status}: {answer.body[:200]!r}"
        except OSError as error:
            words[name] = f"did not answer: {error}"
        if words[name] != "ready":
            problem = problem or f"model {name} {words[name]}"
    status.set(problem is None, problem or "every model answered a real request", words)
    return problem


def usage(inference: str, ready: str, models: list[Model]) -> str:
    """How to call what is served, as commands to copy."""
    where = f"--unix-socket {shlex.quote(inference.removeprefix('unix:'))} http://localhost"
    base = inference if inference.startswith("http") else where
    lines = [f"is it ready?   curl {ready}/ready"]
    for model in models:
        body = shlex.quote(json.dumps(model.manifest.example))
        path = f"{base}/predictions/{model.manifest.name}"
        lines.append(
            f"call {model.manifest.name}:   curl -H 'Content-Type: application/json' -d {body} {path} -o answer"
        )
        lines.append(f"look at it:    python -m serving try {model.manifest.name} --seed 7 --n 16")
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
