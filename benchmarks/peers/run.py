"""Everything that is compared, ready and warm. All speak HTTP over loopback TCP."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.process import Peer, process, wait
from benchmarks.server import ROOT, running
from handlers.bundle import Bundle
from serving.config import free_ports

EXTRAS = "make bench-extras"
ATELIER = "atelier"


@contextmanager
def ours(archive: Path) -> Iterator[Peer]:
    """Atelier, as `python -m serving up --dev` runs it; it warms itself."""
    with tempfile.TemporaryDirectory() as name:
        store = Path(name) / "store"
        store.mkdir()
        shutil.copy(archive, store)
        with running(store, Path(name) / "run", "--dev") as server:
            model = archive.name.rpartition("-")[0]
            yield Peer(ATELIER, server.inference, f"/predictions/{model}", server)


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
