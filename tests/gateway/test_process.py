"""The gateway as a process: how it starts, what it says, how it ends."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.gateway.conftest import eventually
from tests.gateway.plain import ASK
from tests.gateway.plain_process import process
from tests.gateway.raw import answer_of, connected, head_of, request, to_the_end
from tests.support.fake_upstream import FakeUpstream

STREAMS = 20


def settings(fake: FakeUpstream, **changes: object) -> dict[str, object]:
    return {"port": 0, "upstream": fake.address, "models": list(fake.models), **changes}


def test_sigterm_ends_streams_and_answers_whole(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.hold()
    with process(tmp_path, **settings(fake)) as gateway, contextlib.ExitStack() as stack:
        streams = [stack.enter_context(connected(gateway.port)) for _ in range(STREAMS)]
        for stream in streams:
            stream.sendall(request("/plain/chat", {**ASK, "stream": True}))
        begun = [head_of(stream)[2] for stream in streams]
        unstreamed, idle, probe = (stack.enter_context(connected(gateway.port)) for _ in range(3))
        unstreamed.sendall(request("/plain/drawn", {"seed": 7}))
        idle.sendall(request("/healthz", method="GET"))
        assert answer_of(idle)[0] == 200
        eventually(lambda: fake.running == STREAMS + 1, 30, "not all were asked")

        gateway.process.send_signal(signal.SIGTERM)
        eventually(lambda: any(line["event"] == "draining" for line in gateway.log), 30, "it does not drain")
        probe.sendall(request("/readyz", method="GET"))
        status, headers, rest = head_of(probe)
        assert (status, headers["connection"]) == (503, "close")
        assert json.loads(rest + to_the_end(probe))["reason"] == "draining"
        idle.sendall(request("/plain/drawn", {"seed": 8}))
        status, headers, rest = head_of(idle)
        assert (status, headers["connection"]) == (503, "close")
        assert b"the gateway is stopping" in rest + to_the_end(idle)
        assert "retry-after" in headers
        assert gateway.process.poll() is None

        fake.release()
        whole = [first + to_the_end(stream) for first, stream in zip(begun, streams, strict=True)]
        assert all(text.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") for text in whole)
        status, headers, rest = head_of(unstreamed)
        assert (status, headers["connection"]) == (200, "close")
        assert len(rest + to_the_end(unstreamed)) == int(headers["content-length"])
        assert gateway.process.wait(30) == 0
        assert not fake.cancelled
        assert gateway.log[-1]["event"] == "stopped"


def test_a_stop_waits_no_longer_than_it_may(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.hold()
    with process(tmp_path, **settings(fake, drain_seconds=1)) as gateway, connected(gateway.port) as connection:
        connection.sendall(request("/plain/drawn", {"seed": 7}))
        eventually(lambda: fake.running == 1, 30, "the model was not asked")
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(30) == 0
        status, headers, rest = head_of(connection)
        assert (status, headers["connection"]) == (503, "close")
        assert b"stopped before the answer was there" in rest + to_the_end(connection)
        assert [line["in_hand"] for line in gateway.log if line["event"] == "stopped with requests in hand"] == [1]
        (answer,) = (line for line in gateway.log if line["event"] == "answer")
        assert (answer["status"], answer["reason"][:41]) == (503, "the gateway stopped before the answer was")
    assert len(fake.cancelled) == 1


def test_the_log_has_a_line_for_every_answer_with_its_id(fake: FakeUpstream, tmp_path: Path) -> None:
    """But for a sign of life, which a launcher wants every second: it would push all else out of the file."""
    with process(tmp_path, **settings(fake)) as gateway, connected(gateway.port) as connection:
        with connected(gateway.port) as watching:
            watching.sendall(request("/healthz", None, "Connection: close", method="GET"))
            assert head_of(watching)[0] == 200
            to_the_end(watching)
        connection.sendall(request("/plain/drawn", {"seed": 7}, "Connection: close"))
        _, headers, _ = head_of(connection)
        to_the_end(connection)
        eventually(lambda: any(line["event"] == "answer" for line in gateway.log), 30, "no line")
        (line,) = (line for line in gateway.log if line["event"] == "answer")
        assert line["request"] == headers["x-request-id"]
        assert fake.asked[0].headers["x-atelier-id"].startswith(line["request"])
        assert (line["route"], line["status"], line["key"]) == ("/plain/{model}", 200, "anybody")
        assert "seed" not in json.dumps(line)


def test_a_start_that_cannot_be_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        file = tmp_path / "gateway.toml"
        file.write_text(f"port = {port}\n")
        command = [sys.executable, "-m", "gateway", "--settings", str(file)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 1
    assert result.stderr == (
        f"error: nothing can listen at 127.0.0.1, port {port}: Address already in use; set host and port to others "
        "(port = 0: a free one)\n"
    )


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_shows_an_example(option: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "gateway", option], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "python -m gateway serve --settings gateway.toml" in result.stdout
