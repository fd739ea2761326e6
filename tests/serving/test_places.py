"""One server at a place with a strange name, through what people and machines do to its folders."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.tryout import decode_receipt
from tests.conftest import ROOT, Tiny
from tests.serving.conftest import Server, eventually, running

pytestmark = pytest.mark.server
STRANGE = "jürgen's 100%41 #1 名=:"  # umlaut, quote, an escape of addresses, a fragment, no Latin-1, a setting's signs


@pytest.fixture(scope="module")
def strange() -> Iterator[Path]:
    """A folder with such a name; its path is short: unix sockets lie below it."""
    folder = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp"))
    (folder / STRANGE).mkdir()
    yield folder / STRANGE
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def placed(strange: Path, tiny: Tiny) -> Iterator[Server]:
    """A server of which everything lies there: checkout, store, run directory and temporary files."""
    for name in ("serving", "handlers"):
        shutil.copytree(ROOT / name, strange / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "config.properties", strange / "checkout")
    store, temporary = strange / "store", strange / "t"
    temporary.mkdir()
    store.mkdir()
    shutil.copy(tiny.archive, store)
    with running(store, strange / "run", temporary=temporary, checkout=strange / "checkout") as server:
        yield server


def version(server: Server) -> str:
    answer = server.post({"seed": 7})
    assert answer.status == 200, answer.body
    return str(decode_receipt(answer.headers["x-atelier-receipt"])["version"])


def test_it_answers_from_a_strange_place(placed: Server, tiny: Tiny, strange: Path) -> None:
    assert version(placed) == tiny.version
    placed.await_ready()
    (engine,) = placed.engines()
    assert f"{strange.resolve()}/run/models/tiny/bundle" in engine.cmdline()
    assert "atelier_answers_total" in "".join(placed.metrics())


def test_an_engine_opens_again_when_temporary_files_are_gone(placed: Server, tiny: Tiny) -> None:
    """Files that nobody opens for ten days are removed from /tmp on many machines."""
    for path in sorted(placed.temporary.rglob("*"), reverse=True):
        if path.is_file() or path.is_symlink():
            path.unlink()
        elif path.is_dir():
            with contextlib.suppress(OSError):  # a folder that still holds a socket
                path.rmdir()
    before = placed.control("tiny", "health")["restarts"]
    placed.engine_of("tiny").kill()

    def replaced() -> bool:
        health = placed.control("tiny", "health")
        return bool(health["restarts"] == before + 1 and health["engine"] == "ready")

    eventually(replaced, 60, "no engine opened again")
    assert version(placed) == tiny.version
    placed.await_ready()


def test_a_loss_brings_back_what_was_served_and_the_store_is_told_of(placed: Server, tiny: Tiny, strange: Path) -> None:
    """The store may be rebuilt, emptied or broken while it is served: nothing changes without a word."""
    (strange / "store" / tiny.archive.name).unlink()
    (strange / "store" / "broken.mar").write_bytes(b"PK")
    placed.await_ready()
    eventually(lambda: "store" in placed.ready()[1], 30, "/ready does not tell of the store")
    document = placed.await_ready()
    assert f"('broken.mar' is new, '{tiny.archive.name}' is gone): a stop and a start serve" in document["store"]
    restarts = placed.metrics()["atelier_torchserve_restarts_total"]
    placed.jvm().kill()
    eventually(
        lambda: placed.metrics()["atelier_torchserve_restarts_total"] > restarts and placed.ready()[0] == 200,
        120,
        "TorchServe did not come back",
    )
    assert version(placed) == tiny.version
    log = (placed.run_dir / "launcher.log").read_text()
    assert log.count("no longer holds what is served") == 1  # in a line of its own, once
