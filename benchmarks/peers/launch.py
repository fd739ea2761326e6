"""Servers to be compared, started and warm. They speak HTTP over loopback TCP, ours over its unix socket."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.process import Peer, PeerError, process, wait
from benchmarks.server import ROOT, running
from handlers.bundle import Bundle
from serving.config import free_ports

EXTRAS = "make bench-extras"
ATELIER = "atelier"


@contextmanager
def ours(archive: Path, engine_nice: int | None = None) -> Iterator[Peer]:
    """Atelier, as `python -m serving up` runs it, at its unix socket; it warms itself.

    With `engine_nice` its engine has that priority. Raises `PeerError` where it has another.
    """
    options = [] if engine_nice is None else ["--engine-nice", str(engine_nice)]
    name = ATELIER if engine_nice is None else f"{ATELIER}, engine at nice {engine_nice}"
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        store.mkdir()
        shutil.copy(archive, store)
        with running(store, Path(folder) / "run", *options) as server:
            found = server.engines()[0].nice()
            if engine_nice is not None and found != engine_nice:
                raise PeerError(name, f"runs its engine at nice {found}, wanted {engine_nice}")
            model = archive.name.rpartition("-")[0]
            yield Peer(name, server.inference, f"/predictions/{model}", server)


@contextmanager
def prioritized(archive: Path, engine_nice: int) -> Iterator[Peer | None]:
    """Atelier with its engine at that priority; None where this user may not give it."""
    if not may_set(engine_nice):
        print(f"an engine at nice {engine_nice} is not compared: this user may not raise a priority", flush=True)
        yield None
        return
    with ours(archive, engine_nice) as peer:
        yield peer


def may_set(nice: int) -> bool:
    """Whether this user may give a process of its own that priority; tried on one that does nothing."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as idle:  # ends with its stdin
        try:
            os.setpriority(os.PRIO_PROCESS, idle.pid, nice)
        except PermissionError:
            return False
    return True


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
        print(f"{name} is not installed, so it is not compared: {EXTRAS}", flush=True)
        yield None
        return
    (port,) = free_ports(1)
    command = [sys.executable, "-m", module, str(port), str(bundle.directory.resolve())]
    with tempfile.TemporaryFile() as log, process(command, {}, ROOT, log) as started:
        peer = Peer(name, f"http://127.0.0.1:{port}", "/predict", pid=started.pid)
        wait(peer, started, log)
        yield peer
