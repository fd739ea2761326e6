"""Everything that may break is broken on purpose, under traffic, and what it cost is counted.

Each fault is a function that the `server` tests call, too: they assert on what is only counted here. A request is *lost* when it
was accepted and then neither answered nor refused; one that is refused (503, or nobody listening) is not lost, its caller knows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import sabotage
from benchmarks.server import Server, eventually, running
from benchmarks.traffic import LOST, Traffic, one

CLIENTS = 8
FLOW_SECONDS = 0.7  # of traffic before and after a fault


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one fault cost."""

    fault: str
    outcomes: Mapping[str, int]  # status, "refused" or "lost" -> requests
    recovered_s: float  # until a request was answered again

    @property
    def lost(self) -> int:
        """Requests that were accepted and never heard of again."""
        return self.outcomes.get(LOST, 0)


def answers(server: Server, model: str, seconds: float = 40) -> float:
    """Seconds until a plain request is answered with 200."""
    return eventually(lambda: one(server, model, 5, seed=1) == "200", seconds, f"{model} never answered again")


def under_traffic(server: Server, model: str, fault: str, do: Callable[[], object], **params: Any) -> Outcome:
    """`do` in the middle of steady traffic, until the model answers again and for a while after that."""
    with Traffic(server, model, CLIENTS, **params) as traffic:
        time.sleep(FLOW_SECONDS)
        do()
        recovered = answers(server, model)
        time.sleep(FLOW_SECONDS)
    eventually(lambda: server.ready()[0] == 200, 60, f"not ready again after: {fault}")
    return Outcome(fault, traffic.outcomes, round(recovered, 2))


def kill_engine(server: Server, model: str) -> Outcome:
    """SIGKILL to the process that computes: only what was in it fails, what waited is served by the next one."""
    return under_traffic(
        server, model, f"kill engine of {model}", lambda: server.engine_of(model).kill(), **LONG[model]
    )


def kill_worker(server: Server, model: str) -> Outcome:
    """SIGKILL to TorchServe's workers, the proxies: TorchServe cannot recover from that, so the launcher starts it again."""

    def kill() -> None:
        for worker in server.workers():
            worker.kill()

    return under_traffic(server, model, "kill workers", kill, **LONG[model])


def kill_jvm(server: Server, model: str) -> Outcome:
    """SIGKILL to TorchServe itself: its workers and their engines follow, the launcher starts it again."""
    children = [process.pid for process in (*server.workers(), *server.engines())]
    outcome = under_traffic(server, model, "kill JVM", lambda: server.jvm().kill(), **LONG[model])
    eventually(lambda: not any(psutil.pid_exists(pid) for pid in children), 5, "a worker or engine outlived the JVM")
    return outcome


def culprits(server: Server, model: str, fault: str, seed: int, count: int, wanted: str) -> Outcome:
    """Requests that misbehave, one after the other among others that do not. Raises `AssertionError` unless they are answered `wanted`."""
    answered: list[str] = []
    outcome = under_traffic(
        server,
        model,
        f"generator of {model} {fault}",
        lambda: answered.extend(one(server, model, 30, seed=seed) for _ in range(count)),
    )
    if answered != [wanted] * count:
        raise AssertionError(f"requests whose generator {fault} were answered {answered}, wanted {wanted}")
    return outcome


def raising(server: Server, model: str) -> Outcome:
    """A request that raises in the generator, five times: it alone gets a 500."""
    return culprits(server, model, "raises", sabotage.RAISE, 5, "500")


def standing_still(server: Server, model: str) -> Outcome:
    """A request that never ends: its engine is replaced after max_compute_seconds, and who waited is served."""
    return culprits(server, model, "stands still", sabotage.STAND_STILL, 1, "503")


def dying(server: Server, model: str) -> Outcome:
    """A request that takes the engine process down with it, three times."""
    return culprits(server, model, "dies", sabotage.DIE, 3, "503")


def hang_up(server: Server, model: str = "text", count: int = 200) -> Outcome:
    """Clients that read the beginning of a stream and disconnect; their slots come free, others are served."""
    body = json.dumps({"max_tokens": 200, "stream": True}).encode()
    head = f"POST /predictions/{model} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    opened = 0
    for _ in range(count):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(server.inference.removeprefix("unix:"))
            client.sendall(request)
            opened += client.recv(4096).startswith(b"HTTP/1.1 ")
    recovered = answers(server, model)
    eventually(
        lambda: server.control(model, "health")["in_flight"] == 0, 30, "slots of disconnected clients stay taken"
    )
    if opened != count:
        raise AssertionError(f"{count - opened} of {count} streams did not begin")
    return Outcome(f"{count} clients disconnect mid-stream", {"200": opened}, round(recovered, 2))


def malformed_json(server: Server, model: str, count: int = 1000, seed: int = 0) -> Outcome:
    """Bodies that are no request, made by breaking one that is."""
    numbers = random.Random(seed)
    outcomes: dict[str, int] = {}
    for _ in range(count):
        body = bytearray(json.dumps({"seed": numbers.randrange(2**60), "n": 2, "format": "png"}).encode())
        for _ in range(numbers.randint(1, 6)):
            at = numbers.randrange(len(body))
            body[at : at + numbers.randint(0, 3)] = numbers.randbytes(numbers.randint(0, 4))
        status = str(server.post(bytes(body), model).status)
        outcomes[status] = outcomes.get(status, 0) + 1
    return Outcome(f"{count} malformed JSON bodies", outcomes, round(answers(server, model), 2))


MALFORMED = (
    b"POST /predictions/{} HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n\r\n--b\r\nhalf",
    b"POST /predictions/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\na=%zz&",
    b"POST /predictions/{} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: minus\r\n\r\n{}",
    b"POST /predictions/{} HTTP/1.1\r\nHost: x\r\nX-\xff\xfe: \x00\x01\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /predictions/{} HTTP/1.1\r\nHost: x\r\nX-Atelier-Deadline: \xc3\xa9\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /predictions/%zz/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    b"GARBAGE\r\n\r\n",
    b"POST /predictions/{} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
)


def malformed_http(server: Server, model: str, rounds: int = 5) -> Outcome:
    """Forms, headers and chunks that are none: TorchServe's front end refuses them or hangs up, no worker dies."""
    outcomes: dict[str, int] = {}
    for template in MALFORMED * rounds:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(3)
            client.connect(server.inference.removeprefix("unix:"))
            client.sendall(template.replace(b"/{} ", f"/{model} ".encode()))
            try:
                answer = client.recv(4096)
            except OSError:
                answer = b""
        word = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "hung up"
        outcomes[word] = outcomes.get(word, 0) + 1
    return Outcome("malformed forms and headers", outcomes, round(answers(server, model), 2))


def broken_archive(server: Server, store: Path, broken: str, model: str) -> Outcome:
    """An archive is replaced by a broken one while it is served: the running copy goes on, a restart refuses it by name."""
    path = next(store.glob(f"{broken}-*.mar"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    if one(server, broken, 10, seed=1) != "200":
        raise AssertionError("the running copy of a replaced archive does not answer")
    server.jvm().kill()
    recovered = answers(server, model)
    eventually(lambda: "refused" in server.ready()[1], 30, "/ready does not name the broken archive")
    code, document = server.ready()
    if code != 503 or path.name not in str(document["reason"]) or broken in str(document["models"]):
        raise AssertionError(f"/ready says {code} {document}, wanted 503 that names {path.name}")
    path.write_bytes(whole)
    server.jvm().kill()
    eventually(lambda: server.ready()[0] == 200, 60, "not ready with the archive whole again")
    return Outcome("archive replaced by a broken one", {"200": 1}, round(recovered, 2))


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


def full_disk(store: Path, folder: Path, model: str) -> Outcome:
    """The disk of the temporary files fills up while serving: requests are answered, even by an engine started after that."""
    with small_disk(64) as disk, running(store, folder, temporary=disk) as server:
        for size in (65536, 4096, 1):  # the last blocks, too
            with contextlib.suppress(OSError), (disk / f"filler-{size}").open("wb", buffering=0) as filler:
                while filler.write(bytes(size)):
                    pass
        first = under_traffic(server, model, "disk full", lambda: server.engine_of(model).kill())
        if os.statvfs(disk).f_bavail:
            raise AssertionError("the disk was not full after all")
        return first


LONG: dict[str, dict[str, Any]] = {"image": {"n": 4, "grid": True}, "text": {"max_tokens": 300}}


def run(quick: bool) -> dict[str, Any]:
    """All faults, one after the other, on servers of their own."""
    from benchmarks.tiny import RECIPES, tiny_models

    outcomes: list[Outcome] = []

    def note(outcome: Outcome) -> None:
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
        "quick": quick,
    }
