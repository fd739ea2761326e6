"""Run a command in a network namespace of its own: nobody outside of it can reach a port that the command opens.

A program by itself, because the namespace must be entered by a process of one thread, before `exec`; it imports nothing
of ours. Unix sockets are files, so those work across. Needs root, or user namespaces (Linux lets everybody make one,
unless an administrator or a container's rules forbid it). Where neither is allowed the command runs all the same, in
the network of the host, and the launcher finds its ports there (`serving/seal.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # linux/sched.h
_SIOCSIFFLAGS, _IFF_UP = 0x8914, 1  # linux/sockios.h, linux/if.h
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(command: list[str]) -> None:
    """Replace this process by `command`, in a namespace of its own where that is allowed."""
    with contextlib.suppress(OSError):
        enter()
        raise_loopback()
    os.execvp(command[0], command)


def enter() -> None:
    """Go into a new network namespace, as the same user. Raises `OSError` where that is not allowed."""
    user, group = os.geteuid(), os.getegid()
    try:
        _unshare(_CLONE_NEWNET)
    except PermissionError:  # not root: a user namespace of one's own, in which one may
        _unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def raise_loopback() -> None:
    """Bring up `lo`, which is down in a new namespace. Raises `OSError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _IFF_UP))


def _unshare(flags: int) -> None:
    if _LIBC.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


if __name__ == "__main__":
    main(sys.argv[1:])
