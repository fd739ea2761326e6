"""The status port: bounded in connections, threads and time, whoever asks."""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving import status_server
from serving.client import request
from serving.status import Status
from serving.status_server import MAX_CONNECTIONS, StatusServer
from tests.conftest import ROOT
from tests.support.raw_http import connected, to_the_end


class Counting:
    """Metrics that count how often they are collected, and how many times at once."""

    def __init__(self) -> None:
        self.calls = self.now = self.most = self.tidied = 0
        self.go = threading.Event()
        self.go.set()
        self.fails = False

    def text(self) -> bytes:
        self.calls += 1
        self.now += 1
        self.most = max(self.most, self.now)
        self.go.wait(30)
        self.now -= 1
        if self.fails:
            raise RuntimeError("a file is torn")
        return b"a_total 1.0\n"

    def tidy(self) -> None:
        self.tidied += 1
        if self.tidied == 1:
            raise RuntimeError("the first time it fails")


@contextlib.contextmanager
def served(source: Counting) -> Iterator[StatusServer]:
    status = Status()
    status.set(True, "every model answered", {"a": "ready"})
    server = StatusServer(status, source, 0)
    try:
        yield server
    finally:
        source.go.set()
        server.close()


def connect(server: StatusServer) -> socket.socket:
    return connected(int(server.address.rpartition(":")[2]))


def test_more_half_sent_requests_than_it_keeps_shut_nobody_out() -> None:
    with served(Counting()) as server:
        before = threading.active_count()
        dripping = [connect(server) for _ in range(MAX_CONNECTIONS * 4)]
        for connection in dripping:
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"GET /ready HTTP/1.1\r\nX-A: ")
        assert request(server.address, "GET", "/ready").status == 200
        assert threading.active_count() <= before + 1  # no thread for a connection; one for the metrics
        for connection in dripping[:MAX_CONNECTIONS]:
            assert to_the_end(connection) == b""  # cut, to make room
        assert request(server.address, "GET", "/metrics").body == b"a_total 1.0\n"
        assert len(server._open) <= MAX_CONNECTIONS
        for connection in dripping:
            connection.close()


def test_who_has_asked_does_not_give_way() -> None:
    source = Counting()
    source.go.clear()
    with served(source) as server, connect(server) as scraper:
        scraper.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        dripping = [connect(server) for _ in range(MAX_CONNECTIONS * 2)]
        assert request(server.address, "GET", "/ready").status == 200
        source.go.set()
        assert to_the_end(scraper).endswith(b"a_total 1.0\n")
        for connection in dripping:
            connection.close()


def test_as_many_as_it_keeps_are_answered_at_once() -> None:
    with served(Counting()) as server:
        callers = [connect(server) for _ in range(MAX_CONNECTIONS)]
        for caller in callers:
            caller.sendall(b"GET /ready HTTP/1.1\r\n\r\n")
        for caller in callers:
            with caller:
                assert to_the_end(caller).startswith(b"HTTP/1.1 200 OK")


def test_a_request_has_a_time_for_all_of_it_however_often_a_byte_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "HEAD_SECONDS", 0.3)
    with served(Counting()) as server, connect(server) as connection:
        connection.sendall(b"GET /ready HTTP/1.1\r\nX-A: ")
        connection.settimeout(0.02)
        answer = b""
        while not answer:
            with contextlib.suppress(TimeoutError):
                answer = connection.recv(4096)
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"a")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"the request was not complete after 0 s" in answer


def test_an_answer_that_takes_too_long_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "TOTAL_SECONDS", 0.3)
    source = Counting()
    source.go.clear()
    with served(source) as server, connect(server) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert to_the_end(connection) == b""
        assert request(server.address, "GET", "/ready").status == 200  # meanwhile


def test_a_stop_in_the_middle_of_a_scrape_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    source = Counting()
    source.go.clear()
    with served(source) as server, connect(server) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        while not source.calls:
            assert request(server.address, "GET", "/ready").status == 200
        server.close()
        assert to_the_end(connection) == b""
    assert caplog.text == ""


def test_methods_and_paths() -> None:
    with served(Counting()) as server:
        answer = request(server.address, "HEAD", "/ready")
        assert (answer.status, answer.body) == (200, b"")
        length = int(answer.headers["content-length"])
        answer = request(server.address, "GET", "/ready?verbose=1")
        assert (answer.status, len(answer.body), answer.headers["connection"]) == (200, length, "close")
        assert request(server.address, "HEAD", "/metrics").headers["content-type"].startswith("text/plain; version=0")
        answer = request(server.address, "POST", "/ready", b"{}")
        assert (answer.status, json.loads(answer.body)["message"]) == (405, "known methods: GET, HEAD")
        with connect(server) as connection:
            connection.sendall(b"\x16\x03\x01\r\n\r\n")
            assert to_the_end(connection).startswith(b"HTTP/1.1 400 ")
        with connect(server) as connection:
            connection.sendall(b"GET /ready HTTP/1.1\r\nX: " + b"a" * (status_server.MAX_HEAD - 21))
            assert b"the request is over 8192 bytes" in to_the_end(connection)


def test_scrapes_at_once_are_one_collection() -> None:
    source = Counting()
    source.go.clear()
    with served(source) as server, ThreadPoolExecutor(20) as pool:
        asked = [pool.submit(request, server.address, "GET", "/metrics") for _ in range(20)]
        while len(server._open) < 20:
            assert request(server.address, "GET", "/ready").status == 200
        source.go.set()
        assert {answer.result().status for answer in asked} == {200}
        assert source.most == 1
        assert source.calls < 3  # who asks meanwhile gets the same; a slow machine may need a second one


def test_who_asks_seldom_gets_a_new_text_and_who_asks_often_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status_server, "KEPT_SECONDS", 3600.0)
    source = Counting()
    with served(source) as server:
        for wanted in range(1, status_server.FRESH + 1):
            assert request(server.address, "GET", "/metrics").status == 200
            assert source.calls == wanted
        for _ in range(20):
            assert request(server.address, "GET", "/metrics").body == b"a_total 1.0\n"
        assert source.calls == status_server.FRESH
        monkeypatch.setattr(status_server, "KEPT_SECONDS", 0.0)
        assert request(server.address, "GET", "/metrics").status == 200
        assert source.calls == status_server.FRESH + 1


def test_a_collection_that_fails_is_an_answer_with_the_reason() -> None:
    source = Counting()
    source.fails = True
    with served(source) as server:
        answer = request(server.address, "GET", "/metrics")
        wanted = "the metrics cannot be collected: RuntimeError: a file is torn"
        assert (answer.status, json.loads(answer.body)["message"]) == (500, wanted)
        source.fails = False
        assert request(server.address, "GET", "/metrics").status == 200


def test_what_is_left_of_dead_processes_is_tidied_without_a_scrape(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(status_server, "TIDY_SECONDS", 0.01)
    source = Counting()
    with served(source) as server:
        while source.tidied < 2:
            assert request(server.address, "GET", "/ready").status == 200
    assert source.calls == 0
    assert "what dead processes counted cannot be put together now: the first time it fails" in caplog.text


FULL = """
import os, resource, socket, sys, time
from serving.client import request
from serving.status import Status
from serving.status_server import StatusServer
class Fixed:
    def text(self): return b"a_total 1.0\\n"
    def tidy(self): pass
server = StatusServer(Status(), Fixed(), 0)
request(server.address, "GET", "/metrics")
caller = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
files = []
try:
    while True:
        files.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
caller.connect(("127.0.0.1", int(server.address.rpartition(":")[2])))
caller.sendall(b"GET /ready HTTP/1.1\\r\\n\\r\\n")
try:
    request(server.address, "GET", "/ready")
except OSError as error:
    print(error)
time.sleep(0.2)
for file in files:
    os.close(file)
print(caller.recv(100).partition(b"\\r")[0].decode())
server.close()
"""


def test_without_a_file_left_it_says_a_line_and_answers_later() -> None:
    done = subprocess.run([sys.executable, "-c", FULL], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        f"[Errno {errno.EMFILE}] Too many open files",
        "HTTP/1.1 503 Service Unavailable",
    ]
    assert "Traceback" not in done.stderr
    assert "status port: socket.accept() out of system resource" in done.stderr
