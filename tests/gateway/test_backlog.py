"""Who waits at a socket is kept, and nobody comes to wait once they are turned away."""

from __future__ import annotations

import errno
import select
import socket

from gateway.backlog import turn_away, waiting


def calling(at: socket.socket) -> socket.socket:
    made = socket.socket()
    made.setblocking(False)
    assert made.connect_ex(at.getsockname()) in (0, errno.EINPROGRESS)
    return made


def test_who_waits_is_kept_and_who_comes_then_is_refused_at_the_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, calling(listening) as early:
        assert select.select([], [early], [], 30)[1]
        assert waiting(listening) == 1
        turn_away(listening)
        with calling(listening) as late:
            assert waiting(listening) == 1
            accepted, _ = listening.accept()
            with accepted:
                early.sendall(b"asked")
                assert accepted.recv(10) == b"asked"
            assert waiting(listening) == 0
            listening.close()
            assert select.select([], [late], [], 30)[1]  # it calls again, and nothing listens
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
