"""Fault injection under traffic: processes killed, generators that misbehave, bad clients, broken files, a full disk.

Each fault is a function that the `server` tests call, too: they assert on the numbers that are only counted here. A
request is *lost* when it was accepted and then neither answered nor refused; one that is refused (503, or nobody
listening) is not lost, its caller knows.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import sabotage
from benchmarks.bad_clients import costly_bodies, hang_up, malformed_http, malformed_json
from benchmarks.fault_result import FaultResult, under_traffic, until_answered
from benchmarks.server import Server, eventually, running
from benchmarks.traffic import request_outcome

# Parameters of requests that are in the engine most of the time, by model.
LONG: dict[str, dict[str, Any]] = {"image": {"n": 4, "grid": True}, "text": {"max_tokens": 300}}


def kill_engine(server: Server, model: str) -> FaultResult:
    """SIGKILL to the process that computes: only what was in it fails, what waited is served by the next one."""
    return under_traffic(
        server, model, f"kill engine of {model}", lambda: server.engine_of(model).kill(), **LONG[model]
    )


def kill_worker(server: Server, model: str) -> FaultResult:
    """SIGKILL to TorchServe's workers, the proxies: it cannot recover from that, so the launcher starts it again."""

    def kill() -> None:
        for worker in server.workers():
            worker.kill()

    return under_traffic(server, model, "kill workers", kill, **LONG[model])


def kill_jvm(server: Server, model: str) -> FaultResult:
    """SIGKILL to TorchServe itself: its workers and their engines follow, the launcher starts it again."""
    children = [process.pid for process in (*server.workers(), *server.engines())]
    outcome = under_traffic(server, model, "kill JVM", lambda: server.jvm().kill(), **LONG[model])
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in children), 5, "a worker or engine outlived the JVM")
    return outcome


def culprits(server: Server, model: str, fault: str, seed: int, count: int, wanted: str) -> FaultResult:
    """Requests that misbehave, one after the other among others that do not.

    Raises `AssertionError` unless each is answered with the status `wanted`.
    """
    answered: list[str] = []
    outcome = under_traffic(
        server,
        model,
        f"generator of {model} {fault}",
        lambda: answered.extend(request_outcome(server, model, 30, seed=seed) for _ in range(count)),
    )
    if answered != [wanted] * count:
        raise AssertionError(f"requests whose generator {fault} were answered {answered}, wanted {wanted}")
    return outcome


def raising(server: Server, model: str) -> FaultResult:
    """A request that raises in the generator, five times: it alone gets a 500."""
    return culprits(server, model, "raises", sabotage.RAISE, 5, "500")


def standing_still(server: Server, model: str) -> FaultResult:
    """A request that never ends: its engine is replaced after max_compute_seconds, and who waited is served."""
    return culprits(server, model, "stands still", sabotage.STAND_STILL, 1, "503")


def dying(server: Server, model: str) -> FaultResult:
    """A request that takes the engine process down with it, three times."""
    return culprits(server, model, "dies", sabotage.DIE, 3, "503")


def broken_archive(server: Server, store: Path, broken: str, model: str) -> FaultResult:
    """An archive becomes a broken one while it is served: the running copy goes on, a restart refuses it by name."""
    path = next(store.glob(f"{broken}-*.mar"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    if request_outcome(server, broken, 10, seed=1) != "200":
        raise AssertionError("the running copy of a replaced archive does not answer")
    server.jvm().kill()
    recovered = until_answered(server, model)
    eventually(lambda: "refused" in server.ready()[1], 30, "/ready does not name the broken archive")
    code, document = server.ready()
    if code != 503 or path.name not in str(document["reason"]) or broken in str(document["models"]):
        raise AssertionError(f"/ready says {code} {document}, wanted 503 that names {path.name}")
    path.write_bytes(whole)
    server.jvm().kill()
    eventually(lambda: server.ready()[0] == 200, 60, "not ready with the archive whole again")
    return FaultResult("archive replaced by a broken one", {"200": 1}, round(recovered, 2))


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system of its own, of that size. Raises `PermissionError` where this user may not mount one."""
    folder = Path(tempfile.mkdtemp(prefix="at-", dir="/tmp"))
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, check=False)
        if done.returncode != 0:
            raise PermissionError("mounting a small file system to fill is not allowed here")
        try:
            yield folder
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def full_disk(store: Path, folder: Path, model: str) -> FaultResult:
    """The disk of the temporary files fills up: requests are answered, also by an engine started after that."""
    with small_disk(64) as disk, running(store, folder, temporary=disk) as server:
        for size in (65536, 4096, 1):  # the last blocks, too
            with contextlib.suppress(OSError), (disk / f"filler-{size}").open("wb", buffering=0) as filler:
                while filler.write(bytes(size)):
                    pass
        first = under_traffic(server, model, "disk full", lambda: server.engine_of(model).kill())
        if os.statvfs(disk).f_bavail:
            raise AssertionError("the disk was not full after all")
        return first


def run(quick: bool) -> dict[str, Any]:
    """All faults, one after the other, on servers of their own."""
    from benchmarks.tiny import RECIPES, tiny_models

    outcomes: list[FaultResult] = []

    def note(outcome: FaultResult) -> None:
        print(
            f"{outcome.fault}: {dict(outcome.outcomes)}, {outcome.lost} lost, back after {outcome.recovered_s} s",
            flush=True,
        )
        outcomes.append(outcome)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = folder / "store"
        store.mkdir()
        for model, bundle in tiny_models(folder).items():
            sabotage.sabotage(sabotage.renamed(bundle, model, store, max_compute_seconds=2))
        with running(store, folder / "run") as server:
            for model in RECIPES:
                for fault in (kill_engine, raising, standing_still, dying):
                    note(fault(server, model))
            note(hang_up(server))
            note(malformed_json(server, "image", 200 if quick else 1000))
            note(malformed_http(server, "image"))
            note(costly_bodies(server, "image"))
            note(kill_worker(server, "image"))
            note(kill_jvm(server, "text"))
            note(broken_archive(server, store, "text", "image"))
            dead_workers = len(RECIPES) - len(server.workers())  # one worker a model
            server.process.terminate()
            server.process.wait(30)
            orphans = len(server.processes())
        try:
            note(full_disk(store, folder / "full", "image"))
        except PermissionError as error:
            print(f"disk full: not tried, {error}")
    return {
        "faults": [
            {"fault": o.fault, "outcomes": dict(o.outcomes), "lost": o.lost, "recovered_s": o.recovered_s}
            for o in outcomes
        ],
        "lost_requests": sum(outcome.lost for outcome in outcomes),
        "dead_workers": dead_workers,
        "orphans": orphans,
    }
