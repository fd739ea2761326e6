"""Real servers: one for the session with two models, and a way to start more."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from export.archive import archive
from handlers import bundle as bundles
from serving.client import Response, request
from serving.launcher import read_state, wait_ready
from tests.conftest import ROOT, Tiny

JSON = {"Content-Type": "application/json"}


@dataclasses.dataclass(frozen=True)
class Server:
    """A running launcher."""

    process: subprocess.Popen[str]
    run_dir: Path
    temporary: Path
    inference: str
    management: str
    status: str

    def post(
        self, params: Any, model: str = "tiny", headers: dict[str, str] | None = None, query: str = ""
    ) -> Response:
        """POST parameters (bytes as they are, anything else as JSON)."""
        body = params if isinstance(params, bytes) else json.dumps(params).encode()
        return request(
            self.inference, "POST", f"/predictions/{model}{query}", body, JSON if headers is None else headers
        )

    def ready(self) -> tuple[int, dict[str, Any]]:
        """Status and document of /ready."""
        answer = request(self.status, "GET", "/ready")
        return answer.status, json.loads(answer.body)

    def processes(self) -> list[psutil.Process]:
        """Every process of this server but the launcher, found by the folder its command line names."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self.temporary) in part for part in process.info["cmdline"] or []):
                found.append(process)
        return found


@contextmanager
def running(store: Path, folder: Path, *options: str) -> Iterator[Server]:
    """Start a launcher on `store`, wait until it is ready, and stop it at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = Path(
        subprocess.run(["mktemp", "-d", "/tmp/at-XXXXXX"], capture_output=True, text=True, check=True).stdout.strip()
    )
    log = (folder / "launcher.log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "up", "--model-store", str(store), "--run-dir", str(folder), *options],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        try:
            state = wait_ready(folder, 60, process.pid)
        except Exception as error:
            log.seek(0)
            raise AssertionError(f"{error}\n{log.read()}") from error
        addresses = {key: str(state[key]) for key in ("inference", "management", "status")}
        yield Server(process, folder, temporary, **addresses)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        log.close()
        shutil.rmtree(temporary, ignore_errors=True)


@pytest.fixture(scope="session")
def start() -> Callable[..., Any]:
    return running


@pytest.fixture(scope="session")
def store(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny`, and `tight`: the same generator with a response limit of 3,000 bytes."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(tiny.archive, folder)
    manifest = dataclasses.replace(
        tiny.bundle.manifest, name="tight", limits={**tiny.bundle.manifest.limits, "max_response_bytes": 3000}
    )
    contents = {manifest.files["generator-fp32"].path: tiny.bundle.read_file("generator-fp32")}
    contents["certificate.json"] = (tiny.bundle.directory / "certificate.json").read_bytes()
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("tight"))
    try:
        bundles.write(bundles.directory("tight"), manifest, contents)
        archive("tight", folder)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(store, tmp_path_factory.mktemp("run")) as started:
        yield started
        assert started.process.poll() is None, "the server went away during the tests"


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition with a bound; fails saying what did not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError(f"after {seconds} s: {what}")


__all__ = ["JSON", "Server", "eventually", "read_state", "running"]
