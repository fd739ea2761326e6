"""Random requests, right and wrong and raw, at a real server: each is answered, and nobody dies of one."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Tiny
from tests.serving.conftest import Server, running
from tests.support.random_http import RandomRequests

pytestmark = pytest.mark.server

CLIENTS = 4
SEED = 20261128
HONEST = {"503", "504"}  # busy, or draining: it says when to come again; a deadline that had passed


def ask(address: str, request: bytes) -> tuple[str, bytes]:
    """The status of the last answer on a connection of its own (`closed` when there is none), and all it read."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(address.removeprefix("unix:"))
        client.sendall(request)
        data = b""
        while not whole(data):
            piece = client.recv(65536)
            if not piece:
                break
            data += piece
    heads = [line for line in data.split(b"\r\n") if line.startswith((b"HTTP/1.1 ", b"HTTP/1.0 "))]
    final = [line for line in heads if b" 100 " not in line]
    return (final[-1].split(b" ")[1].decode() if final else "closed"), data


def whole(data: bytes) -> bool:
    """Whether an answer is complete, so that a connection kept alive is not waited for."""
    data = data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    head, found, body = data.partition(b"\r\n\r\n")
    lower = head.lower()
    if not found:
        return False
    if b"transfer-encoding: chunked" in lower:
        return body.endswith(b"0\r\n\r\n")
    length = next((line for line in lower.split(b"\r\n") if line.startswith(b"content-length:")), b"content-length: 0")
    return len(body) >= int(length.partition(b":")[2])


def fire(server: Server, count: int, seed: int) -> Counter[str]:
    """`count` random requests of `CLIENTS` clients to both models; the statuses, after a look at every 5xx."""

    def client(number: int) -> Counter[str]:
        model = ("tiny", "text")[number % 2]
        requests = RandomRequests(model, server.control(model, "describe"), seed + number)
        statuses: Counter[str] = Counter()
        for _ in range(count // CLIENTS):
            request = requests.next()
            try:
                status, data = ask(server.inference, request)
            except TimeoutError:
                raise AssertionError(f"no answer to {request[:600]!r}") from None
            assert status[0] != "5" or status in HONEST, (request[:600], data[:600])
            statuses[status] += 1
        return statuses

    with ThreadPoolExecutor(CLIENTS) as pool:
        return sum(pool.map(client, range(CLIENTS)), Counter())


@pytest.fixture(scope="module")
def own(tiny: Tiny, tiny_text: Tiny, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running(store, tmp_path_factory.mktemp("random-run")) as started:
        yield started


def survived(server: Server, before: list[int]) -> None:
    assert sorted(process.pid for process in server.processes()) == before  # none was started again
    assert server.metrics()["atelier_torchserve_restarts_total"] == 0
    for model in ("tiny", "text"):
        assert server.control(model, "health")["restarts"] == 0
        assert server.post(server.control(model, "describe")["example"], model).status == 200
    server.await_ready()


@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.long)])
def test_random_requests_are_answered_and_nobody_dies(own: Server, count: int) -> None:
    before = sorted(process.pid for process in own.processes())
    statuses = fire(own, count, SEED)
    print(dict(statuses))
    assert statuses["200"] > count // 20  # a good part is right
    assert statuses["400"] > count // 20
    survived(own, before)
