"""Our own server for benchmarks and tests: started on a store, waited for, stopped whole."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from serving.client import Response, request
from serving.commands import wait_ready
from serving.private_store import MODELS

ROOT = Path(__file__).parent.parent
JSON = {"Content-Type": "application/json"}
READY_SECONDS = 240.0  # on a slow machine under load a start takes half a minute
STOP_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Server:
    """A running launcher."""

    process: subprocess.Popen[str]
    run_dir: Path
    temporary: Path
    inference: str
    management: str
    status: str
    gateway: str | None = None  # where the gateway answers, of a launcher that runs one

    def post(
        self,
        params: Any,
        model: str = "tiny",
        headers: dict[str, str] | None = None,
        query: str = "",
        timeout: float = 60.0,
    ) -> Response:
        """POST parameters (bytes as they are, anything else as JSON)."""
        body = params if isinstance(params, bytes) else json.dumps(params).encode()
        path = f"/predictions/{model}{query}"
        return request(self.inference, "POST", path, body, JSON if headers is None else headers, timeout)

    def control(self, model: str, command: str) -> dict[str, Any]:
        """The document that a model answers to a control word."""
        document: dict[str, Any] = json.loads(self.post({}, model, {**JSON, "X-Atelier": command}).body)
        return document

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and document of /ready."""
        answer = request(self.status, "GET", "/ready")
        return answer.status, json.loads(answer.body)

    def await_ready(self, seconds: float = 60) -> dict[str, Any]:
        """The document of /ready once it says 200: a look of the launcher comes after what it looks at."""
        told: list[tuple[int, dict[str, Any]]] = []

        def well() -> bool:
            told[:] = [self.ready()]
            return told[0][0] == 200

        try:
            eventually(well, seconds, "the launcher does not say ready")
        except AssertionError as error:
            raise AssertionError(f"{error}: {told}") from None
        return told[0][1]

    def metrics(self) -> dict[str, float]:
        """Every sample of /metrics by name and labels, as they are written."""
        lines = request(self.status, "GET", "/metrics").body.decode().splitlines()
        pairs = (line.rpartition(" ") for line in lines if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}

    def processes(self) -> list[psutil.Process]:
        """Every process of this server but the launcher, found by the folders that its command line names."""
        found = []
        for process in psutil.process_iter(["cmdline", "status"]):
            if process.info["status"] == psutil.STATUS_ZOMBIE:
                continue
            places = (str(self.temporary), str(self.run_dir.resolve() / MODELS))
            if any(place in part for part in process.info["cmdline"] or [] for place in places):
                found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """The proxies, TorchServe's workers."""
        return [p for p in self.processes() if any("model_service_worker" in part for part in p.cmdline())]

    def engines(self) -> list[psutil.Process]:
        """The engine processes."""
        return [p for p in self.processes() if any("handlers.engine.main" in part for part in p.cmdline())]

    def jvm(self) -> psutil.Process:
        """TorchServe's front end."""
        return next(p for p in self.processes() if "java" in p.cmdline()[0])

    def gateway_process(self) -> psutil.Process:
        """The gateway; raises `StopIteration` while there is none."""
        children = psutil.Process(self.process.pid).children()
        return next(p for p in children if p.status() != psutil.STATUS_ZOMBIE and p.cmdline()[1:3] == ["-m", "gateway"])

    def engine_of(self, model: str) -> psutil.Process:
        """The engine process of one model."""
        names = (p for p in self.engines() if self._serves(p, model))
        return next(names)

    def _serves(self, process: psutil.Process, model: str) -> bool:
        manifest = json.loads((Path(process.cmdline()[-1]) / "manifest.json").read_text())
        return bool(manifest["name"] == model)


def launcher(store: Path, run_dir: Path) -> list[str]:
    """The command that serves `store`."""
    return [sys.executable, "-m", "serving", "up", "--model-store", str(store), "--run-dir", str(run_dir)]


@contextmanager
def running(
    store: Path,
    folder: Path,
    *options: str,
    temporary: Path | None = None,
    environment: Mapping[str, str] = MappingProxyType({}),
    checkout: Path = ROOT,
) -> Iterator[Server]:
    """Start a launcher on `store`, wait until it is ready, and stop it at the end; it dies with this process.

    `temporary` becomes its TMPDIR (the default is a short one of its own: unix sockets have short paths),
    `environment` is added to its environment, `checkout` holds its code.
    """
    folder.mkdir(parents=True, exist_ok=True)
    own = temporary is None
    place = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp")) if temporary is None else temporary
    log = (folder / "launcher.log").open("w+")
    process = subprocess.Popen(
        [*launcher(store, folder), "--stop-at-eof", *options],
        cwd=checkout,
        env={**os.environ, **environment, "TMPDIR": str(place)},
        stdin=subprocess.PIPE,  # its other end is ours alone: the kernel closes it however we end
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        try:
            state = wait_ready(folder, READY_SECONDS, process.pid)
        except Exception as error:
            log.seek(0)
            raise AssertionError(f"{error}\n{log.read()}") from error
        addresses = {key: str(state[key]) for key in ("inference", "management", "status")}
        yield Server(process, folder, place, **addresses, gateway=state.get("gateway"))
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_SECONDS)
            finally:  # the kernel tells its JVM when it is killed
                process.kill()
                process.wait()
        assert process.stdin is not None
        process.stdin.close()
        log.close()
        if own:
            shutil.rmtree(place, ignore_errors=True)


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for a condition with a bound; fails saying what did not happen. Returns the seconds it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    raise AssertionError(f"after {seconds} s: {what}")
