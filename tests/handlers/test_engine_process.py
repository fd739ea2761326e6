"""The engine process dies, stands still or does not open: what it had begun fails and says why, what waits is kept."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from handlers.bundle import Bundle
from handlers.identity import HOME
from handlers.proxy import engine_process
from tests.conftest import ROOT, Tiny
from tests.support.frontend import FrontEnd, front_end
from tests.support.helpers import health, rewritten
from tests.support.sabotage import DIE, RAISE, SLOW, STAND_STILL
from tests.support.server import eventually

RESTARTED = "the engine was restarted while it computed this ("


def pid_of(front: FrontEnd) -> int:
    pid = front.service.engine.pid
    assert pid is not None
    return pid


def held(front: FrontEnd) -> int:
    """How many requests wait in the proxy or are in the engine."""
    figures = health(front)
    return int(figures["in_flight"] + figures["queued"])


def begun(front: FrontEnd) -> int:
    """How many requests the engine has begun."""
    return sum(pending.started is not None for pending in list(front.service._queue.all()))


def test_killed_it_takes_what_it_had_begun_and_nothing_else(tiny: Tiny, faulty_home: Path, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, batch_size=2), faulty_home) as front:
        wanted = front.ask({"seed": 2}).body
        first = pid_of(front)
        victims = [front.send({"seed": STAND_STILL})]
        eventually(lambda: begun(front) == 1, 60, "the engine never began")
        waiting = [front.send({"seed": 2}) for _ in range(70)]  # more than the engine takes: some wait in the proxy
        eventually(lambda: held(front) == 71, 60, "the requests did not arrive")
        os.kill(first, signal.SIGKILL)
        replies = [future.result(60) for future in waiting]
        (reply,) = [future.result(60) for future in victims]
        assert reply.status == 503
        assert reply.message == f"{RESTARTED}the engine died (exit code -9)); nothing is kept, send it again"
        assert reply.headers["Retry-After"] == "1"
        assert [reply.status for reply in replies] == [200] * 70
        assert {reply.body for reply in replies} == {wanted}
        ended = [reply.times[-1] for reply in replies]
        assert ended == sorted(ended)  # still in order of arrival
        assert front.service.engine.restarts == health(front)["restarts"] == 1
        assert pid_of(front) != first


def test_a_batch_dies_together_and_says_of_what(tiny: Tiny, faulty_home: Path) -> None:
    with front_end(tiny.bundle, faulty_home) as front:
        pid = pid_of(front)
        os.kill(pid, signal.SIGSTOP)
        futures = [front.send({"seed": seed}) for seed in (1, DIE, 2)]
        eventually(lambda: health(front)["in_flight"] == 3, 60, "the requests did not arrive")
        os.kill(pid, signal.SIGCONT)
        replies = [future.result(60) for future in futures]
        assert {reply.status for reply in replies} == {503}
        wanted = f"{RESTARTED}the engine died (exit code 9)); nothing is kept, send it again"
        assert {reply.message for reply in replies} == {wanted}
        assert front.ask({"seed": 1}).status == 200


def test_a_stream_that_dies_says_so_in_its_last_event(tiny_text: Tiny, faulty_home: Path) -> None:
    with front_end(tiny_text.bundle, faulty_home) as front:
        stream = front.send({"seed": SLOW, "temperature": 0, "stream": True})
        reply = front.newest()
        eventually(lambda: bool(reply.pieces), 60, "no first piece came")
        culprit = front.ask({"seed": DIE})
        assert (culprit.status, culprit.message.startswith(RESTARTED)) == (503, True)
        assert stream.result(60).status == 200
        error = json.loads(reply.pieces[-1].removeprefix(b"data: "))["error"]
        assert (error["code"], error["message"]) == (503, culprit.message)
        assert front.ask({"seed": 1, "max_tokens": 3}).status == 200


def test_a_generator_that_raises_does_not_end_the_engine(tiny: Tiny, faulty_home: Path) -> None:
    with front_end(tiny.bundle, faulty_home) as front:
        pid = pid_of(front)
        replies = front.ask_all([{"seed": 1}, {"seed": RAISE}, {"seed": 2}])
        assert [reply.status for reply in replies] == [200, 500, 200]
        assert replies[1].message == "this item could not be computed; the server's log has the reason"
        assert (pid_of(front), front.service.engine.restarts) == (pid, 0)


def test_one_that_stands_still_in_a_request_is_replaced(tiny: Tiny, faulty_home: Path, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, max_compute_seconds=1), faulty_home) as front:
        first = pid_of(front)
        reply = front.ask({"seed": STAND_STILL})
        assert reply.status == 503
        assert reply.message == f"{RESTARTED}the engine stood still for 1 s); nothing is kept, send it again"
        assert front.ask({"seed": 1}).status == 200
        assert (front.service.engine.restarts, psutil.pid_exists(first)) == (1, False)


def test_one_that_is_stopped_is_replaced_and_what_it_had_not_begun_is_kept(tiny: Tiny, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, max_compute_seconds=1)) as front:
        first = pid_of(front)
        os.kill(first, signal.SIGSTOP)
        assert front.ask({"seed": 1}).status == 200
        assert (front.service.engine.restarts, psutil.pid_exists(first)) == (1, False)


def test_an_idle_one_is_heard_and_left_alone(tiny: Tiny, tmp_path: Path) -> None:
    with front_end(rewritten(tiny.bundle, tmp_path, max_compute_seconds=1)) as front:
        first = pid_of(front)
        heard = front.service.engine._heard
        eventually(lambda: front.service.engine._heard > heard + 1.2, 60, "the idle engine is silent")
        assert (pid_of(front), front.service.engine.restarts) == (first, 0)


def test_health_tells_of_a_restart(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    with front_end(tiny.bundle) as front:
        monkeypatch.setattr(engine_process, "BACKOFF_SECONDS", (0.5,))
        os.kill(pid_of(front), signal.SIGKILL)
        eventually(lambda: front.service.engine.state == "restarting", 60, "nobody noticed")
        reply = front.ask(b"{}", x_atelier="health")
        assert reply.status == 503
        document = json.loads(reply.body)
        assert (document["engine"], document["restarts"]) == ("restarting", 1)
        assert document["reason"] == "the engine died (exit code -9)"
        assert front.ask({"seed": 1}).status == 200  # it waited
        assert health(front)["engine"] == "ready"


@pytest.fixture
def damaged(tiny: Tiny, tmp_path: Path) -> Bundle:
    """A bundle whose graph was damaged after its manifest had been read."""
    bundle = rewritten(tiny.bundle, tmp_path)
    path = bundle.directory / bundle.manifest.files["generator-fp32"].path
    shutil.copy(path, tmp_path / "whole")
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    return bundle


def test_one_that_does_not_open_gives_the_reason_and_opens_when_it_can(damaged: Bundle, tmp_path: Path) -> None:
    front = FrontEnd(damaged)
    try:
        starting = front.ask(b"{}", x_atelier="describe")
        assert starting.status == 503
        assert starting.message == "the engine is not open yet: the engine is being opened"
        waiting = front.send({"seed": 1})
        eventually(lambda: front.service.engine.state == "failed", 60, "the damage was not found")
        reply = front.ask({"seed": 1})
        assert reply.status == 503
        assert reply.message.startswith("the engine does not open: BundleError: ")
        assert str(damaged.directory) not in reply.message, "callers need not know this machine's folders"
        assert "generator-fp32.onnx is damaged" in reply.message
        assert "generator-fp32.onnx is damaged" in health(front)["reason"]
        assert front.ask(b"{}", x_atelier="health").status == 503
        assert front.ask(b"{}", x_atelier="ping").status == 200
        waited = waiting.result(60)
        assert waited.message == reply.message  # nobody waits for what does not open
        for refused in (starting, reply, waited):  # the same refusal says the same on every way
            assert refused.headers["Retry-After"] == "1"
        eventually(lambda: front.service.engine.restarts >= 2, 60, "it is not tried again")
        assert front.service.engine.state == "failed"
        os.replace(tmp_path / "whole", damaged.directory / damaged.manifest.files["generator-fp32"].path)
        front.wait_ready(30)
        assert front.ask({"seed": 1}).status == 200
    finally:
        front.close()


def test_one_that_takes_too_long_to_open_is_replaced(
    tiny: Tiny, faulty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = shutil.copytree(faulty_home, tmp_path / "handlers")
    original = (home / "engine" / "main.py").read_text()
    (home / "engine" / "main.py").write_text("import time\ntime.sleep(3600)\n")
    monkeypatch.setattr(engine_process, "OPEN_SECONDS", 1.0)
    front = FrontEnd(tiny.bundle, home)
    try:
        eventually(lambda: front.service.engine.state == "restarting", 60, "nobody noticed")
        assert front.service.engine.reason == "the engine did not open within 1 s"
        monkeypatch.setattr(engine_process, "OPEN_SECONDS", 60.0)
        (home / "engine" / "main.py").write_text(original)
        front.wait_ready()
        assert front.ask({"seed": 1}).status == 200
    finally:
        front.close()


def test_it_waits_longer_between_starts_that_fail(damaged: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []
    sleep = engine_process.asyncio.sleep  # type: ignore[attr-defined]

    async def short(seconds: float) -> None:
        if seconds not in (engine_process.WATCH_SECONDS, engine_process.REAP_PAUSE_SECONDS):
            paused.append(seconds)
            seconds = 0
        await sleep(seconds)

    monkeypatch.setattr(engine_process.asyncio, "sleep", short)  # type: ignore[attr-defined]
    front = FrontEnd(damaged)
    try:
        eventually(lambda: len(paused) >= 3, 60, "it was not tried again")
    finally:
        front.close()
    assert tuple(paused[:3]) == engine_process.BACKOFF_SECONDS[:3]
    assert sorted(engine_process.BACKOFF_SECONDS) == list(engine_process.BACKOFF_SECONDS)


def test_closed_it_is_gone(tiny: Tiny) -> None:
    front = FrontEnd(tiny.bundle).wait_ready()
    process = psutil.Process(pid_of(front))
    front.close()
    assert not process.is_running()
    assert front.service.engine.pid is None


def test_it_goes_with_its_proxy(tiny: Tiny) -> None:
    """A proxy that is killed cannot say goodbye."""
    program = (
        "import sys; from pathlib import Path\n"
        "from handlers import bundle; from tests.support.frontend import FrontEnd\n"
        "print(FrontEnd(bundle.read(Path(sys.argv[1]))).wait_ready().service.engine.pid, flush=True); input()"
    )
    proxy = psutil.Popen(
        [sys.executable, "-c", program, str(tiny.bundle.directory)], cwd=ROOT, stdin=-1, stdout=-1, stderr=-3, text=True
    )
    with proxy:
        engine = psutil.Process(int(proxy.stdout.readline()))
        os.kill(engine.pid, signal.SIGSTOP)  # so that it cannot notice by itself
        proxy.kill()
    eventually(lambda: not engine.is_running(), 60, "the engine outlived its proxy")


def test_it_finds_its_packages_by_place_alone(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive's stub of torch lies beside its handlers/: it may not take the place of an installed package."""
    home = shutil.copytree(
        ROOT / "handlers", tmp_path / "archive" / "handlers", ignore=shutil.ignore_patterns("__pycache__")
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder in (home.parent, elsewhere):
        for name in ("torch", "numpy", "onnxruntime", "sitecustomize"):
            (folder / f"{name}.py").write_text(f"raise SystemExit('the stub {name} was imported')\n")
    monkeypatch.setenv("PYTHONPATH", f"{elsewhere}:{home.parent}")
    monkeypatch.chdir(home.parent)
    with front_end(tiny.bundle, home) as front:
        assert front.ask({"seed": 1}).status == 200
        process = psutil.Process(pid_of(front))
        assert "PYTHONPATH" not in process.environ()
        assert str(home) in process.cmdline()
        assert any("numpy" in memory.path and "site-packages" in memory.path for memory in process.memory_maps())


def test_an_engine_whose_proxy_died_before_it_began_does_not_open(tiny: Tiny) -> None:
    """Its parent is then whoever adopts orphans here: process 1, or a subreaper such as a user's systemd."""
    ours, theirs = socket.socketpair()
    adopter = str(os.getppid())  # any process that is not its parent: so the adopter looks to the one that died
    start = [sys.executable, "-P", "-c", engine_process._START, str(HOME), str(theirs.fileno()), adopter]
    ended = subprocess.run(
        [*start, str(tiny.bundle.directory)], pass_fds=[theirs.fileno()], timeout=120, capture_output=True, check=False
    )
    theirs.close()
    with ours:
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert ours.recv(100) == b""  # it did not say that it is ready
