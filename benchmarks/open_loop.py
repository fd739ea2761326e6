"""The open loop of the load generator: requests at fixed times over plain sockets and epoll, without asyncio.

Under overload most responses are refusals, and the server hangs up with each: an asyncio connection costs several times
what a plain socket does, and that time would be taken from the server on the same machine.
"""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import math
import os
import random
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Iterator

from benchmarks.response import ERROR, UNSENT, ResponseParser, Sample

DRAIN_SECONDS = 30.0  # after the last request was due: what waits may still go out, and be answered
_READ = 1 << 18
_HUNG_UP = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR | select.EPOLLRDHUP


def due_times(began: float, until: float, rate: float, poisson: bool, seed: int) -> Iterator[float]:
    """When requests are due: `rate` a second, evenly or with exponential gaps, from `began` to before `until`."""
    numbers, due = random.Random(seed), began
    while due < until:
        yield due
        due += numbers.expovariate(rate) if poisson else 1 / rate


@dataclasses.dataclass(slots=True)
class Flight:
    """One request on its way."""

    due: float
    request: bytes
    response: ResponseParser


class OpenLoop:
    """Sends each request when it is due.

    A request that finds no free connection waits, and its latency includes that. `drain` seconds after the last one was
    due, those that have not gone out are `UNSENT`, those without a whole response `ERROR`, both with the time waited.
    """

    def __init__(self, address: str, connections: int, drain: float = DRAIN_SECONDS) -> None:
        self._family, self._where = _endpoint(address)
        self._free, self._drain = connections, drain
        self._idle: dict[int, socket.socket] = {}  # used from the end: as few as the load needs
        self._live: dict[int, tuple[socket.socket, Flight]] = {}
        self._waiting: deque[Flight] = deque()
        self._epoll = select.epoll()
        self.samples: list[Sample] = []
        # (due, seconds after that at which the loop took the request up): how late the generator itself was.
        self.behind: list[tuple[float, float]] = []

    def run(self, schedule: Iterator[tuple[float, bytes]]) -> None:
        """Send a schedule of (due, request), in order, and wait for the responses."""
        upcoming = next(schedule, None)
        give_up = math.inf
        alarm = Alarm()
        self._epoll.register(alarm.descriptor, select.EPOLLIN)
        try:
            while True:
                now = time.perf_counter()
                while upcoming is not None and upcoming[0] <= now:
                    self.behind.append((upcoming[0], time.perf_counter() - upcoming[0]))
                    self._waiting.append(Flight(*upcoming, ResponseParser()))
                    upcoming = next(schedule, None)
                while self._waiting and (self._idle or self._free):
                    self._send(self._waiting.popleft())
                if upcoming is None and give_up == math.inf:
                    give_up = now + self._drain
                if now > give_up or not (upcoming or self._live or self._waiting):
                    break
                alarm.set(give_up if upcoming is None else upcoming[0])
                for descriptor, events in self._epoll.poll():
                    if descriptor == alarm.descriptor:
                        alarm.clear()
                    else:
                        self._move(descriptor, events)
        finally:
            self._end(alarm)

    def _end(self, alarm: Alarm) -> None:
        now = time.perf_counter()
        for connection, flight in list(self._live.values()):
            self._fail(connection, flight)
        self.samples += [Sample(flight.due, UNSENT, now - flight.due) for flight in self._waiting]
        for connection in self._idle.values():
            connection.close()
        self._epoll.close()
        alarm.close()

    def _send(self, flight: Flight) -> None:
        if self._idle:
            descriptor, connection = self._idle.popitem()
            self._live[descriptor] = (connection, flight)
            self._write(connection, flight)
            return
        self._free -= 1
        connection = socket.socket(self._family, socket.SOCK_STREAM)
        connection.setblocking(False)
        code = connection.connect_ex(self._where)
        self._live[connection.fileno()] = (connection, flight)
        try:  # over loopback it is connected by now
            connection.sendall(flight.request)
            self._epoll.register(connection, _HUNG_UP)
        except BlockingIOError:
            self._epoll.register(connection, select.EPOLLOUT)  # writable once it is connected
            if code not in (0, errno.EINPROGRESS):  # a unix socket whose queue is full says EAGAIN
                self._fail(connection, flight)
        except OSError:
            self._epoll.register(connection, _HUNG_UP)
            self._fail(connection, flight)

    def _write(self, connection: socket.socket, flight: Flight) -> None:
        try:
            connection.sendall(flight.request)  # small: it fits the socket's buffer
        except OSError:
            self._fail(connection, flight)

    def _move(self, descriptor: int, events: int) -> None:
        if descriptor in self._idle:  # the server has hung up
            self._epoll.unregister(descriptor)
            self._idle.pop(descriptor).close()
            self._free += 1
            return
        if descriptor not in self._live:
            return
        connection, flight = self._live[descriptor]
        if events & select.EPOLLOUT:
            self._epoll.modify(connection, _HUNG_UP)
            self._write(connection, flight)
            return
        try:
            if not flight.response.feed(connection.recv(_READ)):
                return
        except BlockingIOError:
            return
        except (OSError, EOFError, ValueError):
            self._fail(connection, flight)
            return
        self.samples.append(flight.response.sample(flight.due))
        del self._live[descriptor]
        if flight.response.closing:
            self._close(connection)
        else:
            self._idle[descriptor] = connection

    def _fail(self, connection: socket.socket, flight: Flight) -> None:
        self.samples.append(Sample(flight.due, ERROR, time.perf_counter() - flight.due))
        del self._live[connection.fileno()]
        self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._epoll.unregister(connection)
        connection.close()
        self._free += 1


class Alarm:
    """A kernel timer that wakes epoll, to some 0.05 ms.

    epoll's own timeout is rounded up to whole milliseconds, which would count as latency. It costs the generator some
    0.02 ms of processor time a request.
    """

    _LIBC = ctypes.CDLL(None, use_errno=True)
    _CLOCK_MONOTONIC = 1

    def __init__(self) -> None:
        self.descriptor = self._LIBC.timerfd_create(self._CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), "no timer can be had from the kernel")
        self._at = 0.0

    def set(self, at: float) -> None:
        """Ring once, at that time of perf_counter."""
        if at == self._at:
            return
        self._at = at
        nanoseconds = max(1, int((at - time.perf_counter()) * 1e9))  # 0 would switch it off
        value = struct.pack("qqqq", 0, 0, *divmod(nanoseconds, 1_000_000_000))
        if self._LIBC.timerfd_settime(self.descriptor, 0, value, None) < 0:
            raise OSError(ctypes.get_errno(), "the kernel's timer cannot be set")

    def clear(self) -> None:
        """It has rung; the same time may be set again."""
        os.read(self.descriptor, 8)
        self._at = 0.0

    def close(self) -> None:
        """Give it back."""
        os.close(self.descriptor)


def _endpoint(address: str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    if address.startswith("unix:"):
        return socket.AF_UNIX, address.removeprefix("unix:")
    host, _, port = address.removeprefix("http://").partition(":")
    return socket.AF_INET, (host, int(port))
