"""Connections that wait at a listening socket: how many there are, and a way to have no more of them.

A socket that is closed throws out whoever waits there, with a request that nobody has read. Linux alone tells and
allows what is needed; elsewhere fewer wait, and none are counted.
"""

from __future__ import annotations

import contextlib
import ctypes
import socket
import struct

_ATTACH_FILTER = 26  # SO_ATTACH_FILTER (socket(7))
_RETURN_NOTHING = struct.pack("HBBI", 0x06, 0, 0, 0)  # BPF_RET | BPF_K, 0: no byte of any packet comes through
_WAITING = struct.Struct("8x4I I")  # of tcp_info (linux/tcp.h): of a listening socket `tcpi_unacked` is its queue


def turn_away(listening: socket.socket) -> None:
    """Let nobody come to wait any more, and keep those who do.

    Who calls is not answered, calls again in a second, and is refused if nothing listens by then, or let in by the
    next that does.
    """
    program = ctypes.create_string_buffer(_RETURN_NOTHING)
    with contextlib.suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))
    listening.listen(0)


def waiting(listening: socket.socket) -> int:
    """How many are connected and not let in yet; 0 where that cannot be known."""
    try:
        told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _WAITING.size)
    except (OSError, AttributeError):
        return 0
    return int(_WAITING.unpack(told)[4]) if len(told) == _WAITING.size else 0
