"""HTTP as attackers write it: bytes over a socket, and somebody beside them who is to be answered meanwhile."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any

JSON = {"Content-Type": "application/json"}
CLOSED, SILENT = "closed", "silent"


@dataclasses.dataclass(frozen=True)
class Answer:
    """The next answer of a connection; its status is `CLOSED` or `SILENT` where there was none."""

    status: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)  # names in lower case
    body: bytes = b""

    @property
    def error(self) -> Mapping[str, Any]:
        """The error in OpenAI's shape."""
        found: Mapping[str, Any] = json.loads(self.body)["error"]
        return found


def wire(
    path: str,
    body: bytes | Mapping[str, Any] = b"",
    headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
    method: str = "POST",
    version: str = "HTTP/1.1",
    host: str | None = "localhost",
) -> bytes:
    """The bytes of one request; a mapping is sent as JSON."""
    lines = [f"{method} {path} {version}"] + ([f"Host: {host}"] if host is not None else [])
    given = list(headers.items() if isinstance(headers, Mapping) else headers)
    if isinstance(body, Mapping):
        body = json.dumps(body).encode()
        given += [pair for pair in JSON.items() if pair[0] not in dict(given)]
    lines += [f"{name}: {value}" for name, value in given] + [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def read(file: IO[bytes], bodiless: bool = False) -> Answer:
    """The next answer on a connection."""
    try:
        if not (line := file.readline(65_537)):
            return Answer(CLOSED)
        status, headers = line.split(b" ")[1].decode(), {}
        while line := file.readline(65_537).strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        if bodiless or status in ("204", "304"):
            return Answer(status, headers)
        if status == "100":
            return read(file)
        return Answer(status, headers, _body(file, headers))
    except TimeoutError:
        return Answer(SILENT)
    except OSError:
        return Answer(CLOSED)


def _body(file: IO[bytes], headers: Mapping[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() != "chunked":
        return file.read(int(headers["content-length"])) if "content-length" in headers else file.read()
    body = b""
    while size := int(file.readline(1000).partition(b";")[0].strip() or b"0", 16):
        body += file.read(size)
        file.readline(10)
    file.readline(10)
    return body


def connected(port: int, seconds: float = 30, receive_buffer: int | None = None) -> socket.socket:
    """A connection to a port of this machine; its buffer may be so small that answers stay with the server."""
    made = socket.socket()
    made.settimeout(seconds)
    if receive_buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.connect(("127.0.0.1", port))
    return made


def to_the_end(connection: socket.socket) -> bytes:
    """Everything until the other side closes."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65_536):
            data += piece
    return data


class Caller:
    """Somebody on this machine who sends bytes to a port; `sent` counts what arrived as a whole `sendall`."""

    def __init__(self, port: int) -> None:
        self.port, self.sent = port, 0
        self._lock = threading.Lock()

    def connect(self, seconds: float = 20, receive_buffer: int | None = None) -> socket.socket:
        """A connection; its buffer may be so small that answers stay with the server."""
        return connected(self.port, seconds, receive_buffer)

    def send(self, to: socket.socket, data: bytes) -> bool:
        """Send all of it; False where the other end hung up or takes no more."""
        try:
            to.sendall(data)
        except OSError:
            return False
        with self._lock:
            self.sent += 1
        return True

    def raw(self, data: bytes, seconds: float = 20) -> Answer:
        """The answer to bytes on a connection of their own."""
        with self.connect(seconds) as connection:
            self.send(connection, data)
            return read(connection.makefile("rb"), data.startswith(b"HEAD "))

    def ask(self, path: str, body: bytes | Mapping[str, Any] = b"", **how: Any) -> Answer:
        """The answer to one request on a connection of its own."""
        return self.raw(wire(path, body, **how))

    @contextmanager
    def holding(self, count: int, data: bytes, **how: Any) -> Iterator[list[socket.socket]]:
        """That many connections, each of which has sent `data` and reads nothing."""
        with contextlib.ExitStack() as stack:
            held = []
            for _ in range(count):
                held.append(stack.enter_context(self.connect(**how)))
                self.send(held[-1], data)
            yield held


def ended(connections: Sequence[socket.socket]) -> int:
    """How many of them the other end has ended, read as far as there is something."""
    found = 0
    for connection in connections:
        connection.setblocking(False)
        try:
            while connection.recv(1 << 16):
                pass
            found += 1
        except BlockingIOError:
            pass
        except OSError:
            found += 1
    return found


class Neighbour:
    """While entered, somebody else sends one request after the other; `outcomes` counts their statuses."""

    def __init__(self, caller: Caller, path: str, body: Mapping[str, Any]) -> None:
        self._caller, self._path, self._body = caller, path, dict(body)
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._stop, self._seeds = threading.Event(), itertools.count(1_000_000)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Neighbour:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the neighbour's request hangs"

    def _run(self) -> None:
        while True:  # once at least
            answer = self._caller.ask(self._path, {**self._body, "seed": next(self._seeds)})
            self.outcomes[answer.status] += 1
            if self._stop.wait(0.05):
                return
