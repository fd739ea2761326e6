"""TCP ports of a process that no other user may reach: found, and shut from outside.

TorchServe always opens two ports for gRPC; one of them manages it, for everybody on the machine. What it listens on can
be taken from it while it runs: a copy of its socket (pidfd_getfd(2), Linux 5.6) is shut down, and nothing connects any
more. That is allowed to whoever may debug the process: its own user, as a rule.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import time
from collections.abc import Collection
from pathlib import Path

_PIDFD_GETFD = 438  # linux/unistd.h, the same on every architecture
_LISTEN = "0A"  # include/net/tcp_states.h
REACHED = "other users of this machine can reach TorchServe's gRPC"
_LIBC = ctypes.CDLL(None, use_errno=True)


def isolated(pid: int) -> bool:
    """Whether that process has a network namespace of its own, which nothing outside can connect to."""
    return not Path(f"/proc/{pid}/ns/net").samefile("/proc/self/ns/net")


def listening(pid: int) -> dict[int, int]:
    """The TCP ports a process listens on, by file descriptor. Raises `OSError` for one that is not ours, or gone."""
    ports = {}
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _LISTEN:
                    ports[f"socket:[{words[9]}]"] = int(words[1].rpartition(":")[2], 16)
    found = {}
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if (target := str(path.readlink())) in ports:
                found[int(path.name)] = ports[target]
    return found


def shut(pid: int, descriptor: int) -> None:
    """Have that socket of a process listen no more. Raises `OSError` where this is not allowed."""
    process = os.pidfd_open(pid)
    try:
        copy = _LIBC.syscall(_PIDFD_GETFD, process, descriptor, 0)
        if copy < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
    finally:
        os.close(process)
    with socket.socket(fileno=copy) as theirs:
        theirs.shutdown(socket.SHUT_RDWR)


def seal(pid: int, ports: Collection[int], seconds: float) -> str | None:
    """Wait until a process listens on all of `ports`, and shut every port of it; returns why one stays open.

    In a network namespace of its own a port that stays open is reached by nobody else, so there that is no reason.
    Raises `OSError` when the process has gone, or nothing can be learned of it.
    """
    deadline, left = time.monotonic() + seconds, set(ports)
    while left:
        for descriptor, port in listening(pid).items():
            try:
                shut(pid, descriptor)
            except OSError as error:
                why = f"it has no network of its own, and port {port} cannot be shut from outside: {error.strerror}"
                return None if isolated(pid) else f"{REACHED} ({why})"
            left.discard(port)
        if time.monotonic() > deadline and left:
            why = f"port {min(left)} was not open after {seconds:.0f} s, so it could not be shut"
            return None if isolated(pid) else f"{REACHED} ({why})"
        time.sleep(0.02)
    return None
