"""TorchServe's TCP ports are nobody else's: a network of its own where that is allowed, shut from outside elsewhere."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from serving import isolate, seal
from tests.conftest import ROOT

# Listens on two TCP ports and on a unix socket, tells the ports, answers whoever comes over the unix socket.
PROGRAM = """
import socket, sys
open_ones = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen()
print(*(s.getsockname()[1] for s in open_ones), flush=True)
while True:
    caller, _ = door.accept()
    caller.sendall(b"here")
    caller.close()
"""


@contextmanager
def listener(door: Path, *before: str) -> Iterator[tuple[int, list[int]]]:
    """(process id, its ports) of the program, run behind the words `before`."""
    command = [*before, sys.executable, "-c", PROGRAM, str(door)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.pid, [int(word) for word in process.stdout.readline().split()]
        finally:
            process.kill()


def reached(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), 10):
        return True
    return False


def forbidden(*_: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def answers(door: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(str(door))
        return caller.recv(10) == b"here"


def test_ports_are_shut_from_outside(tmp_path: Path) -> None:
    with listener(tmp_path / "door") as (pid, (first, second)):
        assert not seal.isolated(pid)
        assert set(seal.listening(pid).values()) == {first, second}
        assert reached(first)
        assert reached(second)
        assert seal.seal(pid, [first, second], seconds=30) is None
        assert seal.listening(pid) == {}
        assert not reached(first)
        assert not reached(second)
        assert answers(tmp_path / "door")  # it lives on


def test_a_process_that_does_not_open_its_port_is_told_of(tmp_path: Path) -> None:
    with listener(tmp_path / "door") as (pid, _):
        found = seal.seal(pid, [1], seconds=0)
        assert found is not None
        assert found.endswith("can reach TorchServe's gRPC (port 1 was not open after 0 s, so it could not be shut)")


def test_where_no_socket_may_be_taken_the_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seal, "shut", forbidden)
    with listener(tmp_path / "door") as (pid, ports):
        found = seal.seal(pid, ports, seconds=30)
        assert found is not None
        assert found.startswith(
            "other users of this machine can reach TorchServe's gRPC (it has no network of its own, "
        )
        assert found.endswith("cannot be shut from outside: Operation not permitted)")


def test_a_process_that_has_gone_is_an_os_error() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(OSError, match="No such file"):
        seal.seal(process.pid, [1], seconds=30)


def _may_isolate() -> bool:
    program = "from serving import isolate; isolate.enter(); isolate.raise_loopback()"
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("privileged", [True, False])
def test_a_network_of_its_own_is_closed_and_its_files_are_not(
    privileged: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not _may_isolate():
        pytest.skip("this machine allows no network namespace: neither root nor user namespaces")
    lowered = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]
    if not privileged and os.geteuid() == 0:
        if subprocess.run([*lowered, "true"], capture_output=True, check=False).returncode != 0:
            pytest.skip("setpriv does not lower what root may here")
    else:
        lowered = []
    command = [*lowered, sys.executable, "-I", "-S", isolate.__file__]
    with listener(tmp_path / "door", *command) as (pid, ports):
        assert seal.isolated(pid)
        assert len(ports) == 2
        assert not any(map(reached, ports))
        assert answers(tmp_path / "door")
        with monkeypatch.context() as patch:
            patch.setattr(seal, "shut", forbidden)
            assert seal.seal(pid, ports, seconds=30) is None  # nobody else reaches it in any case
        assert seal.seal(pid, ports, seconds=30) is None
        assert seal.listening(pid) == {}
        assert (tmp_path / "door").stat().st_uid == os.geteuid()  # still this user


def test_without_a_namespace_the_command_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(isolate, "_unshare", forbidden)
    monkeypatch.setattr(os, "execvp", lambda _, command: ran.append(command))
    isolate.main(["java", "-version"])
    assert ran == [["java", "-version"]]
