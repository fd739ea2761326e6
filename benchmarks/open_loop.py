"""The open loop's side of the load generator: requests at fixed times over plain sockets and epoll, without asyncio.

Under overload most answers are refusals, and the server hangs up with each: an asyncio connection costs several times what a plain
socket does, and that time would be taken from the server on the same machine.
"""

from __future__ import annotations

import dataclasses
import errno
import select
import socket
import time
from collections import deque
from collections.abc import Iterator

ANSWER_SECONDS = 30.0
_END = b"\r\n0\r\n\r\n"  # of a chunked answer


@dataclasses.dataclass
class Flight:
    """One request on its way."""

    due: float
    request: bytes
    data: bytearray = dataclasses.field(default_factory=bytearray)
    first: float = 0.0  # when the first byte of the body came

    def whole(self) -> bool:
        """Whether the answer is complete. Raises `ValueError` for what is no answer."""
        head, found, body = self.data.partition(b"\r\n\r\n")
        if not found:
            return False
        lower = bytes(head).lower()
        if body and not self.first:
            self.first = time.perf_counter()
        if b"transfer-encoding: chunked" in lower:
            return self.data.endswith(_END)
        return len(body) >= int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])

    @property
    def status(self) -> str:
        """The answer's status."""
        return bytes(self.data[9:12]).decode()

    @property
    def size(self) -> int:
        """Bytes of the answer's body, with the framing of chunks."""
        return len(self.data.partition(b"\r\n\r\n")[2])


Outcome = tuple[float, str, float, float, int]  # due, status or "error", seconds, seconds to the first byte, bytes


class OpenLoop:
    """Sends each request when it is due; what finds no free connection waits, and its latency says so."""

    def __init__(self, address: str, connections: int) -> None:
        self._family, self._where = _endpoint(address)
        self._free = connections
        self._idle: list[socket.socket] = []
        self._live: dict[int, tuple[socket.socket, Flight]] = {}
        self._waiting: deque[Flight] = deque()
        self._epoll = select.epoll()
        self.outcomes: list[Outcome] = []
        self.late = 0.0  # how far behind its own times the generator was at worst, in seconds

    def run(self, schedule: Iterator[tuple[float, bytes]]) -> None:
        """Send a schedule of (due, request), in order, and wait for the answers."""
        upcoming = next(schedule, None)
        give_up = float("inf")
        try:
            while upcoming is not None or self._live or self._waiting:
                now = time.perf_counter()
                while upcoming is not None and upcoming[0] <= now:
                    self.late = max(self.late, now - upcoming[0])
                    self._waiting.append(Flight(*upcoming))
                    upcoming = next(schedule, None)
                while self._waiting and (self._idle or self._free):
                    self._send(self._waiting.popleft())
                if upcoming is None and give_up == float("inf"):
                    give_up = now + ANSWER_SECONDS
                if now > give_up:
                    break
                for descriptor, events in self._epoll.poll(0.5 if upcoming is None else max(0.0, upcoming[0] - now)):
                    self._move(descriptor, events)
        finally:
            for connection, flight in list(self._live.values()):
                self._finish(connection, flight, "error", keep=False)
            for connection in self._idle:
                connection.close()
            self._epoll.close()

    def _send(self, flight: Flight) -> None:
        if self._idle:
            connection = self._idle.pop()
            self._epoll.register(connection, select.EPOLLIN)
            self._live[connection.fileno()] = (connection, flight)
            self._write(connection, flight)
            return
        self._free -= 1
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        connection.setblocking(False)
        code = connection.connect_ex(self._where)
        self._live[connection.fileno()] = (connection, flight)
        self._epoll.register(connection, select.EPOLLOUT)  # writable once it is connected
        if code not in (0, errno.EINPROGRESS):  # a unix socket whose queue is full says EAGAIN
            self._finish(connection, flight, "error", keep=False)

    def _write(self, connection: socket.socket, flight: Flight) -> None:
        try:
            connection.sendall(flight.request)  # small: it fits the socket's buffer
        except OSError:
            self._finish(connection, flight, "error", keep=False)

    def _move(self, descriptor: int, events: int) -> None:
        if descriptor not in self._live:
            return
        connection, flight = self._live[descriptor]
        if events & select.EPOLLOUT:
            self._epoll.modify(connection, select.EPOLLIN)
            self._write(connection, flight)
            return
        try:
            piece = connection.recv(1 << 18)
            flight.data += piece
            whole = flight.whole()
        except (OSError, ValueError):
            self._finish(connection, flight, "error", keep=False)
            return
        if whole:
            closing = b"connection: close" in bytes(flight.data[:2000]).lower()
            self._finish(connection, flight, flight.status, keep=not closing)
        elif not piece:
            self._finish(connection, flight, "error", keep=False)

    def _finish(self, connection: socket.socket, flight: Flight, status: str, keep: bool) -> None:
        now = time.perf_counter()
        first = (flight.first or now) - flight.due
        self.outcomes.append((flight.due, status, now - flight.due, first, flight.size))
        del self._live[connection.fileno()]
        self._epoll.unregister(connection)
        if keep:
            self._idle.append(connection)
        else:
            connection.close()
            self._free += 1


def _endpoint(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.AF_INET, (host, int(port))
