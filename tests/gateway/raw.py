"""Connections as no client would use them, beside what `tests/support/raw_http.py` has of them."""

from __future__ import annotations

import contextlib
import json
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.support.raw_http import connected, to_the_end


def request(path: str, document: Any = None, *headers: str, method: str = "POST", length: int | None = None) -> bytes:
    """The bytes of a request; `length`: what its head says of its body."""
    body = b"" if document is None else json.dumps(document).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def head_of(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Status, headers, and what of the body came with them."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        assert piece, f"the connection ended after {data!r}"
        data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    return int(first.split()[1]), {name: value for name, _, value in pairs}, rest


def answer_of(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """A whole answer that says its length; the connection may bring others after it."""
    status, headers, body = head_of(connection)
    while len(body) < int(headers["content-length"]):
        piece = connection.recv(4096)
        assert piece, f"the connection ended after {body!r}"
        body += piece
    return status, headers, body


def ended(connection: socket.socket) -> bool:
    """Whether the other side has closed it; what else came is thrown away."""
    while select.select([connection], [], [], 0)[0]:
        try:
            if not connection.recv(65_536):
                return True
        except ConnectionError:
            return True
    return False


@contextmanager
def many(port: int, count: int, sent: bytes, **options: int) -> Iterator[list[socket.socket]]:
    """Connections that all send the same and then nothing."""
    with contextlib.ExitStack() as stack:
        made = [stack.enter_context(connected(port, **options)) for _ in range(count)]
        for connection in made:
            connection.sendall(sent)
        yield made


__all__ = ["answer_of", "connected", "ended", "head_of", "many", "request", "to_the_end"]
