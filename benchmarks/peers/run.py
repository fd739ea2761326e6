"""Starting, waiting for and stopping everything that is compared. All speak HTTP over loopback TCP."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import yaml
from model_archiver.model_archiver import ModelArchiver
from model_archiver.model_archiver_config import ModelArchiverConfig

from benchmarks.load import SEED
from benchmarks.server import ROOT, Server, running
from handlers.bundle import Bundle
from serving.client import request
from serving.config import free_ports
from serving.torchserve import java_command
from training import checkpoint

START_SECONDS = 120.0
BODY = f'{{"seed": {SEED}}}'
EXTRAS = "make bench-extras"


class Peer:
    """Something that serves the model."""

    def __init__(self, name: str, address: str, path: str, server: Server | None = None) -> None:
        self.name, self.address, self.path, self.server = name, address, path, server


@contextmanager
def ours(archive: Path) -> Iterator[Peer]:
    """Atelier, as `python -m serving up --dev` runs it, warm."""
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        store.mkdir()
        shutil.copy(archive, store)
        with running(store, Path(name) / "run", "--dev") as server:
            model = archive.name.rpartition("-")[0]
            yield Peer("atelier", server.inference, f"/predictions/{model}", server)


@contextmanager
def fastapi(bundle: Bundle) -> Iterator[Peer | None]:
    """FastAPI, uvicorn and an asyncio batcher; None where they are not installed."""
    with _python("fastapi", "benchmarks.peers.fastapi_app", bundle, ("fastapi", "uvicorn")) as peer:
        yield peer


@contextmanager
def litserve(bundle: Bundle) -> Iterator[Peer | None]:
    """LitServe; None where it is not installed."""
    with _python("litserve", "benchmarks.peers.litserve_app", bundle, ("litserve",)) as peer:
        yield peer


@contextmanager
def _python(name: str, module: str, bundle: Bundle, needs: tuple[str, ...]) -> Iterator[Peer | None]:
    if any(importlib.util.find_spec(package) is None for package in needs):
        print(f"{name} is not installed, so it is not compared: {EXTRAS}")
        yield None
        return
    (port,) = free_ports(1)
    command = [sys.executable, "-m", module, str(port), str(bundle.directory.resolve())]
    with tempfile.TemporaryFile() as log, _process(command, {}, ROOT, log) as process:
        peer = Peer(name, f"http://127.0.0.1:{port}", "/predict")
        _wait(peer, process, lambda: _tail(log))
        yield peer


@contextmanager
def stock(model: str, batch: int) -> Iterator[Peer]:
    """TorchServe with its defaults and the handler its documentation teaches, batches of `batch` within 20 ms."""
    with tempfile.TemporaryDirectory(prefix="st-", dir="/tmp") as name:
        folder = Path(name)
        _stock_archive(folder, model, batch)
        inference, management, metrics, grpc_a, grpc_b = free_ports(5)
        settings = folder / "config.properties"
        settings.write_text(
            f"inference_address=http://127.0.0.1:{inference}\nmanagement_address=http://127.0.0.1:{management}\n"
            f"metrics_address=http://127.0.0.1:{metrics}\ngrpc_inference_port={grpc_a}\ngrpc_management_port={grpc_b}\n"
            "disable_token_authorization=true\nload_models=stock.mar\n"
            f"model_store={folder}\ndisable_system_metrics=true\ninstall_py_dep_per_model=false\n"
        )
        command = java_command([], settings, folder, folder)
        environment = {
            "TMPDIR": name,
            "TEMP": name,
            "PYTHONPATH": str(ROOT),
            "LOG_LOCATION": name,
            "METRICS_LOCATION": name,
        }
        with tempfile.TemporaryFile() as log, _process(command, environment, folder, log) as process:
            peer = Peer(f"stock TorchServe b{batch}", f"http://127.0.0.1:{inference}", "/predictions/stock")
            _wait(peer, process, lambda: _tail(log))
            yield peer


def _stock_archive(folder: Path, model: str, batch: int) -> None:
    shutil.copytree(
        checkpoint.directory(model), folder / "content" / "checkpoint", ignore=shutil.ignore_patterns("state-*")
    )
    config = folder / "model-config.yaml"
    config.write_text(
        yaml.safe_dump(
            {"minWorkers": 1, "maxWorkers": 1, "batchSize": batch, "maxBatchDelay": 20, "responseTimeout": 120}
        )
    )
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)  # the archiver builds in TMPDIR/NAME
    try:
        ModelArchiver.generate_model_archive(
            ModelArchiverConfig(
                model_name="stock",
                version="1.0",
                handler=str(ROOT / "benchmarks/peers/stock_handler.py"),
                extra_files=str(folder / "content"),
                config_file=str(config),
                export_path=str(folder),
                force=True,
            )
        )
    finally:
        tempfile.tempdir = before


@contextmanager
def _process(
    command: list[str], environment: dict[str, str], cwd: Path, log: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """A process and everything it starts; all of it is gone afterwards."""
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")[-2000:]


def _wait(peer: Peer, process: subprocess.Popen[bytes], log: Callable[[], str]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{peer.name} ended while it started:\n{log()}")
        with contextlib.suppress(OSError):
            body = json.dumps({"seed": 1}).encode()
            answer = request(peer.address, "POST", peer.path, body, {"Content-Type": "application/json"}, 20)
            if answer.status == 200:
                if not answer.body.startswith(b"\x89PNG"):
                    raise RuntimeError(f"{peer.name} answers {answer.body[:60]!r}, wanted a PNG file")
                return
        time.sleep(0.2)
    raise RuntimeError(f"{peer.name} did not answer within {START_SECONDS:.0f} s:\n{log()}")
