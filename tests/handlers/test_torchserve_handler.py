"""Being one of TorchServe's workers: loading, the socket of the front end, and the end of both."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from handlers.identity import HOME
from handlers.manifest import BundleError
from handlers.proxy import torchserve_handler, worker
from handlers.proxy.wire import STREAM, Call
from handlers.proxy.worker import AsyncWorker, archived_bundle
from tests.conftest import ROOT, Tiny
from tests.support.frontend import JSON, decode
from tests.support.helpers import message
from tests.support.server import eventually


class Context:
    """As much of TorchServe's context as loading uses."""

    def __init__(self, folder: Path, version: str) -> None:
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = {"model": {"modelVersion": version}}


@pytest.fixture
def unpacked(tiny: Tiny, tiny_copy: Path) -> Path:
    """A folder as TorchServe unpacks an archive: handlers and bundle are called so."""
    (tiny_copy / "artifacts/bundles/tiny").rename(tiny_copy / "bundle")
    shutil.copytree(HOME, tiny_copy / "handlers", ignore=shutil.ignore_patterns("__pycache__"))
    return tiny_copy


def test_an_archive_whose_bundle_was_exchanged_is_refused(tiny: Tiny, unpacked: Path) -> None:
    assert archived_bundle(Context(unpacked, tiny.version)).digest == tiny.bundle.digest
    with pytest.raises(
        BundleError, match=f"the archive is version 000000000000, its bundle and handlers are {tiny.version}"
    ):
        archived_bundle(Context(unpacked, "0" * 12))


def test_loading_puts_our_loop_in_the_place_of_torchserves(
    tiny: Tiny, unpacked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main: Any = sys.modules["__main__"]
    monkeypatch.setattr(main, "AsyncService", None, raising=False)
    monkeypatch.setattr(worker.logging.getLogger(), "setLevel", lambda level: None)  # type: ignore[attr-defined]
    began = time.monotonic()
    assert torchserve_handler.handle(None, Context(unpacked, tiny.version)) is None  # type: ignore[func-returns-value]
    try:
        assert time.monotonic() - began >= worker.LOAD_SECONDS  # an answer that comes sooner can be lost
        assert main.AsyncService is AsyncWorker
        assert AsyncWorker.service.engine.pid is not None
    finally:
        AsyncWorker.service.engine.stop()
        del AsyncWorker.service


def test_the_handler_answers_no_request_itself() -> None:
    with pytest.raises(
        RuntimeError, match="TorchServe called the handler itself: the archive must be in its async mode"
    ):
        torchserve_handler.handle([{"body": b"{}"}], None)


WORKER = """
import socket, sys
from handlers.identity import HOME
from handlers.proxy import torchserve_handler
class AsyncService: pass
class Loaded: cl_socket = socket.socket(fileno=int(sys.argv[1]))
class Context:
    system_properties = {"model_dir": sys.argv[2]}
    manifest = {"model": {"modelVersion": sys.argv[3]}}
torchserve_handler.handle(None, Context)
AsyncService(Loaded).run()
print("the loop must not return")
"""


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """A connection over loopback: the other socket that TorchServe gives its workers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        return ours, listener.accept()[0]


@pytest.mark.parametrize("pair", [unix_pair, tcp_pair])
def test_a_worker_answers_over_its_socket_and_ends_with_it(
    tiny: Tiny, unpacked: Path, pair: Callable[[], tuple[socket.socket, socket.socket]]
) -> None:
    ours, theirs = pair()
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(theirs.fileno()), str(unpacked), tiny.version],
        pass_fds=[theirs.fileno()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    theirs.close()
    with ours, worker:
        ours.settimeout(30)
        sent = message([Call("one", JSON, {"body": b'{"seed": 1}'})]) + message([Call("two", JSON, {"body": b"["})])
        for part in (sent[:1], sent[1:40], sent[40:]):
            ours.sendall(part)
        answers = dict[str, tuple[int, bytes]]()
        data = b""
        while len(answers) < 4:
            data += ours.recv(1 << 16)
            try:
                frames = list(decode(data))
            except (struct.error, AssertionError):  # not all of a frame
                continue
            answers = {f"{call} {headers.get(STREAM)}": (status, body) for call, status, _, headers, body in frames}
        assert answers["one true"][1].startswith(b"\x89PNG")
        assert answers["two None"][0] == 400
        assert answers["one false"] == answers["two false"] == (200, b"")
        (engine,) = psutil.Process(worker.pid).children()
        ours.close()
        assert worker.wait(10) == 0
        assert worker.stdout is not None
        assert worker.stdout.read() == b""
        eventually(lambda: not engine.is_running(), 60, "the engine outlived its worker")


def test_a_worker_ends_when_the_front_ends_bytes_make_no_sense(tiny: Tiny, unpacked: Path) -> None:
    ours, theirs = socket.socketpair()
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(theirs.fileno()), str(unpacked), tiny.version],
        pass_fds=[theirs.fileno()],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    theirs.close()
    with ours, worker:
        ours.sendall(b"L")
        assert worker.wait(30) == 0
        assert worker.stderr is not None
        assert b"WireError: the front end sent command b'L', wanted b'I'" in worker.stderr.read()


def test_a_worker_whose_front_end_died_before_it_began_ends(tiny: Tiny, unpacked: Path) -> None:
    """Its parent is then another process than the one at the other end of its socket, which may stay open."""
    ours, theirs = socket.socketpair()
    worker = [sys.executable, "-c", WORKER, str(theirs.fileno()), str(unpacked), tiny.version]
    between = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:], close_fds=False))"
    with ours, theirs:
        started = subprocess.run(
            [sys.executable, "-c", between, *worker],
            pass_fds=[theirs.fileno()],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=120,
            check=False,
        )
        assert (started.returncode, started.stdout) == (0, b"")
