"""The gateway beside TorchServe, as a program that stands in for it: started, looked at, started again, drained."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from serving import gateway_process
from serving.commands import wait_ready
from serving.gateway_process import ADDRESS, LOG, SETTING, GatewayProcess
from serving.jvm import StartError
from serving.status import Status
from tests.conftest import ROOT
from tests.serving.conftest import eventually

# Answers on a port, tells it in the file; what it is to do at SIGTERM or at once stands in its arguments.
PROGRAM = """
import http.server, os, signal, sys, time
if sys.argv[1] == "fail":
    sys.exit("setting prot is unknown")
if sys.argv[1] == "once" and not os.path.exists(sys.argv[2]):
    open(sys.argv[2], "w").close()
elif sys.argv[1] == "once":
    sys.exit("the second time it fails")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if sys.argv[1] == "mute":
            time.sleep(60)
        self.send_response(503)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
def leave(*_):
    print("drained", flush=True)
    if sys.argv[1] == "stay":
        return
    os._exit(0)
signal.signal(signal.SIGTERM, leave)
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("ATELIER_GATEWAY_PORT", "0"))), Handler)
place = os.environ["ATELIER_GATEWAY_ADDRESS_FILE"]
with open(place + ".part", "w") as file:
    file.write(f"http://127.0.0.1:{server.server_address[1]}")
os.rename(place + ".part", place)
server.serve_forever()
"""


class Kept:
    """A gateway process of that behaviour, what its launcher says of it, and its status."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, behaviour: str, drain_seconds: float) -> None:
        self.status, self.said, self.folder = Status(), list[str](), folder
        self.status.set(True, "every model answered")
        command = [sys.executable, "-c", PROGRAM, behaviour, str(folder / "mark")]
        monkeypatch.setattr(GatewayProcess, "_command", lambda _: command)
        self.process = GatewayProcess(folder, None, folder / "spool", drain_seconds, self.status, self.said.append)

    @property
    def log(self) -> str:
        return (self.folder / LOG).read_text()

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """And wait until another one answers."""
        before = self.process.pid
        assert before is not None
        os.kill(before, number)
        eventually(lambda: self.process.pid not in (None, before) and self.status.get()[0], 60, "it did not come back")


Make = Callable[..., Kept]


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[Kept] = []

    def make(behaviour: str = "serve", drain_seconds: float = 10) -> Kept:
        made.append(Kept(tmp_path, monkeypatch, behaviour, drain_seconds))
        return made[-1]

    yield make
    for one in made:
        one.process.stop()


def test_it_is_ready_when_it_answers_and_drained_at_the_end(kept: Make) -> None:
    one = kept()
    one.process.start()
    assert one.status.get() == (
        False,
        {
            "ready": False,
            "reason": "the gateway is starting",
            "models": {},
            "gateway": "the gateway is starting",
        },
    )
    address = one.process.wait_answering()
    assert address.startswith("http://127.0.0.1:")
    ready, document = one.status.get()
    assert ready
    assert (document["gateway"], document["reason"]) == (address, "every model answered")
    pid = one.process.pid
    assert pid is not None
    one.process.stop()
    assert not psutil.pid_exists(pid)
    assert "drained" in one.log
    assert not (one.folder / ADDRESS).exists()
    assert one.said == []


def test_a_killed_one_comes_back_at_the_same_address(kept: Make) -> None:
    one = kept()
    one.process.start()
    address = one.process.wait_answering()
    one.kill()
    assert one.status.gateway == address
    assert one.status.gateway_restarts == 1
    assert one.said[0].startswith("the gateway is started again now: it was killed by signal 9 (loss 1 in a row)\n")
    assert f"(whole log: {one.folder / LOG})" in one.said[0]


def test_one_that_fails_again_and_again_is_started_after_growing_pauses(kept: Make) -> None:
    one = kept("once")
    one.process.start()
    one.process.wait_answering()
    assert one.process.pid is not None
    os.kill(one.process.pid, signal.SIGKILL)
    eventually(lambda: len(one.said) >= 3, 60, "it was not started again")
    assert "the second time it fails" in one.said[1]
    assert "it ended with exit code 1 (loss 2 in a row)" in one.said[1]
    assert "the gateway is started again in 2 s, at " in one.said[2]
    ready, document = one.status.get()
    assert not ready
    assert str(document["reason"]).startswith("the gateway is started again in ")
    assert document["gateway"] == document["reason"]


def test_one_that_never_came_up_is_the_launchers_own_failure(kept: Make) -> None:
    one = kept("fail")
    one.process.check()
    one.process.start()
    with pytest.raises(StartError, match=r"(?s)the gateway did not come up: it ended with exit code 1\n.*prot is unkn"):
        one.process.wait_answering()
    with pytest.raises(StartError, match="the gateway did not come up"):
        one.process.check()


def test_one_that_says_nothing_is_killed(kept: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_process, "ASK_SECONDS", 0.3)
    monkeypatch.setattr(gateway_process, "FIRST_SECONDS", 0.0)
    one = kept("mute")
    one.process.start()
    with pytest.raises(StartError, match="the gateway did not come up: it gave no sign of life for "):
        one.process.wait_answering()


def test_one_that_does_not_drain_is_killed_after_its_time(kept: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_process, "GRACE_SECONDS", 0.2)
    one = kept("stay", drain_seconds=0.1)
    one.process.start()
    one.process.wait_answering()
    pid = one.process.pid
    assert pid is not None
    one.process.stop()
    assert not psutil.pid_exists(pid)
    assert one.said == ["the gateway had not drained after 0.3 s; it was killed"]


def test_it_is_told_where_it_runs_and_how_long_it_may_drain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATELIER_GATEWAY_KEYS", "required")
    one = GatewayProcess(tmp_path, tmp_path / "own.toml", tmp_path / "spool", 12.5, Status(), print)
    environment = one._environment()
    assert environment["ATELIER_GATEWAY_KEYS"] == "required"  # its operator's settings pass
    told = {key.removeprefix(SETTING): value for key, value in environment.items() if key.startswith(SETTING)}
    assert told == {
        "KEYS": "required",
        "RUN_DIR": str(tmp_path),
        "ADDRESS_FILE": str(tmp_path / ADDRESS),
        "SPOOL": str(tmp_path / "spool"),
        "DRAIN_SECONDS": "12.5",
    }
    assert one._command()[1:] == ["-m", "gateway", "serve", "--settings", str(tmp_path / "own.toml")]
    one.address = "http://127.0.0.1:8123"
    assert one._environment()[SETTING + "PORT"] == "8123"
    assert one.stop_seconds > 12.5
    one.stop()  # one that was never started


LAUNCHER = """
import sys, time
from pathlib import Path
from serving.gateway_process import GatewayProcess
from serving.status import Status
GatewayProcess._command = lambda _: [sys.executable, "-c", Path(sys.argv[2]).read_text(), "serve", "x"]
one = GatewayProcess(Path(sys.argv[1]), None, Path("spool"), 10, Status(), print)
one.start()
one.wait_answering()
print(one.pid, flush=True)
time.sleep(600)
"""


def test_it_dies_with_its_launcher(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path), str(tmp_path / "program.py")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        assert psutil.pid_exists(pid)
        launcher.kill()
        eventually(lambda: not psutil.pid_exists(pid), 30, "it outlived its launcher")


def test_the_log_is_bounded_while_it_runs(kept: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.log.MAX_BYTES", 1000)
    monkeypatch.setattr(gateway_process, "LOOK_SECONDS", 0.0)
    one = kept()
    one.process.start()
    one.process.wait_answering()
    with (one.folder / LOG).open("a") as log:
        log.write("x" * 5000)
    eventually(lambda: len(one.log) < 1000, 30, "the log was not cut")
    assert (one.folder / f"{LOG}.1").stat().st_size == 1000


def test_wait_asks_the_gateway_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    state = {"pid": os.getpid(), "status": "http://status", "gateway": "http://gateway"}

    def request(address: str, method: str, path: str, timeout: float) -> object:
        asked.append(address + path)
        ready = address == "http://status" or asked.count(address + path) > 1
        return type("Answer", (), {"status": 200 if ready else 503, "body": b"no model is served"})

    monkeypatch.setattr("serving.commands.read_state", lambda _: state)
    monkeypatch.setattr("serving.commands.request", request)
    assert wait_ready(tmp_path, 30) == state
    assert asked == ["http://status/ready", "http://gateway/readyz"] * 2


def test_wait_reads_the_state_again_until_the_gateways_address_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {"pid": os.getpid(), "status": "http://status", "gateway": None}
    states = [before, {**before, "gateway": "http://gateway"}]
    answer = type("Answer", (), {"status": 200, "body": b""})  # ready at the first look, with an older state
    monkeypatch.setattr("serving.commands.read_state", lambda _: states.pop(0))
    monkeypatch.setattr("serving.commands.request", lambda *_, timeout: answer)
    assert wait_ready(tmp_path, 30)["gateway"] == "http://gateway"


def test_wait_says_that_it_waited_for_the_gateways_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"pid": os.getpid(), "status": "http://status", "gateway": None}
    answer = type("Answer", (), {"status": 200, "body": b""})
    monkeypatch.setattr("serving.commands.read_state", lambda _: state)
    monkeypatch.setattr("serving.commands.request", lambda *_, timeout: answer)
    with pytest.raises(StartError, match="not ready after 0 s: the gateway's address is not in the state file yet"):
        wait_ready(tmp_path, 0.3, os.getpid())


def test_wait_asks_no_more_of_one_whose_certificate_is_for_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"pid": os.getpid(), "status": "http://status", "gateway": "https://gateway"}

    def request(address: str, method: str, path: str, timeout: float) -> object:
        if address.startswith("https:"):
            raise ssl.SSLCertVerificationError("Hostname mismatch")
        return type("Answer", (), {"status": 200, "body": b""})

    monkeypatch.setattr("serving.commands.read_state", lambda _: state)
    monkeypatch.setattr("serving.commands.request", request)
    assert wait_ready(tmp_path, 30) == state


def test_threads_end_with_it(kept: Make) -> None:
    one = kept()
    one.process.start()
    one.process.wait_answering()
    assert "gateway" in {thread.name for thread in threading.enumerate()}
    one.process.stop()
    assert "gateway" not in {thread.name for thread in threading.enumerate()}
