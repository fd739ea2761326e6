"""TorchServe's known holes, tried on a real server: refused or harmless, and everybody else is still served."""

from __future__ import annotations

import contextlib
import json
import socket
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from serving.client import request
from serving.config import BODY_MARGIN
from tests.serving.conftest import Server, eventually

pytestmark = pytest.mark.server


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """A model directory and a workflow archive whose handlers leave a mark when they run."""
    folder = tmp_path / "evil"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "handler.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w').close()\ndef handle(a, b): return a\n")
    (folder / "MAR-INF/MANIFEST.json").write_text(
        '{"model": {"modelName": "evil", "handler": "handler.py", "modelVersion": "1"}, "archiverVersion": "0.12.0"}'
    )
    with zipfile.ZipFile(tmp_path / "evil.war", "w") as file:
        file.write(folder / "handler.py", "handler.py")
        file.writestr("spec.yaml", "models: {}\ndag: {}\n")
        file.writestr(
            "WAR-INF/MANIFEST.json",
            '{"workflow": {"workflowName": "evil", "specFile": "spec.yaml", "handler": "handler.py"}}',
        )
    return folder


def test_nothing_foreign_can_be_registered(server: Server, evil: Path) -> None:
    attempts = [
        ("POST", f"/models?url={quote(str(evil))}&initial_workers=1&synchronous=true"),
        ("POST", f"/models?url={quote('file://' + str(evil))}&initial_workers=1"),
        ("POST", "/models?url=http://127.0.0.1:1/evil.mar"),
        ("POST", f"/workflows?url={quote(str(evil.parent / 'evil.war'))}"),
        ("POST", f"/workflows?url={quote('file://' + str(evil.parent / 'evil.war'))}"),
        ("POST", "/workflows?url=../evil.war"),
        ("DELETE", "/models/tiny"),
    ]
    for method, path in attempts:
        for address in (server.management, server.inference):
            assert request(address, method, path).status >= 400, path
    assert not (evil.parent / "mark").exists()  # none of it ran
    listed = request(server.management, "GET", "/models").body
    assert b"evil" not in listed
    assert server.post({"seed": 1}).status == 200


def test_only_the_owner_reaches_the_sockets(server: Server) -> None:
    for address in (server.management, server.inference):
        path = Path(address.removeprefix("unix:"))
        assert path.is_socket()
        assert path.parent.stat().st_mode & 0o077 == 0


def test_a_hundred_half_sent_requests_block_nobody(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            client = stack.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(server.inference.removeprefix("unix:"))
            client.sendall(b"POST /predictions/tiny HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
        for seed in range(5):
            assert server.post({"seed": seed}, timeout=5).status == 200
    eventually(lambda: server.post({"seed": 1}).status == 200, 60, "the server is stuck")


def head_of(size: int) -> bytes:
    """The head of a request to `tiny` with a JSON body of `size` bytes."""
    lines = (
        "POST /predictions/tiny HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Content-Length: {size}",
    )
    return "\r\n".join((*lines, "", "")).encode()


def test_hundreds_of_largest_bodies_cost_nobody_else(server: Server) -> None:
    """The front end keeps whole bodies, so their size decides how many fill it: max_request_size fits the models."""
    size = 64 * 1024 + BODY_MARGIN - 1
    head = head_of(size)
    jvm, workers = server.jvm().pid, {process.pid for process in server.workers()}
    counted = 'atelier_rejections_total{model="tiny",reason="too_large"}'
    before = server.metrics().get(counted, 0.0)

    def connected() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(server.inference.removeprefix("unix:"))
        return client

    def whole(_: int) -> bytes:
        with connected() as client:
            client.sendall(head + bytes(size))
            return client.recv(4096).split(b"\r\n")[0]

    with contextlib.ExitStack() as stack, ThreadPoolExecutor(100) as pool:
        for _ in range(400):
            stack.enter_context(connected()).sendall(head + bytes(size - 10))  # half-sent, and held
        flood = [pool.submit(whole, number) for number in range(1000)]
        for seed in range(10):
            assert server.post({"seed": seed}, timeout=10).status == 200
        assert {future.result() for future in flood} == {b"HTTP/1.1 413 Payload Too Large"}
    assert server.metrics()[counted] == before + 1000
    server.await_ready()
    assert (server.jvm().pid, {process.pid for process in server.workers()}) == (jvm, workers)


def test_bodies_over_the_limit_are_refused_before_they_are_read(server: Server) -> None:
    workers = {process.pid for process in server.workers()}
    for size in (9_000_000, 50_000_000):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(server.inference.removeprefix("unix:"))
            client.sendall(head_of(size))
            with contextlib.suppress(OSError):  # it may hang up while we send
                for _ in range(size // 1_000_000):
                    client.sendall(bytes(1_000_000))
            with contextlib.suppress(OSError):
                answer = client.recv(4096)
                assert answer == b"" or b" 413 " in answer.split(b"\r\n")[0]
    assert server.post({"seed": 1}).status == 200
    assert {process.pid for process in server.workers()} == workers


def test_control_words_of_torchserve_change_nothing(server: Server) -> None:
    for path in ("/models/tiny?min_worker=0", "/models/tiny/9.9/set-default"):
        assert request(server.inference, "PUT", path).status >= 400  # not on the address that is served
    for path in ("/api-description", "/ping", "/v1/models/tiny:predict"):
        request(server.inference, "GET", path)
    assert server.post({"seed": 1}).status == 200


@pytest.mark.parametrize("word", ["open", "drain", "hold", "release", "refuse"])
def test_the_launchers_words_are_refused_of_callers(server: Server, word: str) -> None:
    answer = server.post(
        {}, headers={"Content-Type": "application/json", "X-Atelier": word, "X-Atelier-Nonce": "0" * 32}
    )
    assert answer.status == 403
    assert f"{word} is the launcher's word" in answer.body.decode()
    server.await_ready()
    assert server.post({"seed": 1}).status == 200


def answered(server: Server, data: bytes) -> bytes:
    """The first line of what a raw request gets."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(server.inference.removeprefix("unix:"))
        client.sendall(data)
        return client.recv(4096).partition(b"\r\n")[0]


@pytest.mark.parametrize("headers", [(), ("Host: x", "describe: True"), ("describe: True",), ("Host: ",)])
@pytest.mark.parametrize(("version", "body", "status"), [("1.0", b'{"seed":1}', 200), ("1.1", b"[", 400)])
def test_requests_without_host_or_with_torchserves_own_words_are_answered(
    server: Server, headers: tuple[str, ...], version: str, body: bytes, status: int
) -> None:
    lines = (f"POST /predictions/tiny HTTP/{version}", *headers, "Content-Type: application/json")
    data = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", "")).encode() + body
    assert answered(server, data).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "path",
    [
        "/explanations/tiny",
        "/tiny/predict",
        "/models/tiny/invoke",
        "/invocations?model_name=tiny",
        "/v1/models/tiny:predict",
        "/predictions/tiny/VERSION/any/thing",
    ],
)
def test_doors_beside_predictions_are_closed(server: Server, path: str) -> None:
    workers = json.loads(request(server.management, "GET", "/models/tiny").body)
    version = workers[0]["modelVersion"]
    headers = {"Content-Type": "application/json"}
    answer = request(server.inference, "POST", path.replace("VERSION", version), b'{"seed":1}', headers)
    assert answer.status == 404
    assert request(server.inference, "POST", f"/predictions/tiny/{version}", b'{"seed":1}', headers).status == 200
