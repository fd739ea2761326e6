"""Clients that misbehave: they hang up in the middle of a stream, or send what is no JSON or no HTTP."""

from __future__ import annotations

import json
import random
import socket
from concurrent.futures import ThreadPoolExecutor

from benchmarks.fault_result import FaultResult, under_traffic, until_answered
from benchmarks.server import Server, eventually

# Start line and headers of a POST, then what is wrong.
_POST = b"POST /predictions/{} HTTP/1.1\r\nHost: x\r\n"
MALFORMED = (
    _POST + b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9\r\n\r\n--b\r\nhalf",
    _POST + b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 6\r\n\r\na=%zz&",
    _POST + b"Content-Type: application/json\r\nContent-Length: minus\r\n\r\n{}",
    _POST + b"X-\xff\xfe: \x00\x01\r\nContent-Length: 2\r\n\r\n{}",
    _POST + b"X-Atelier-Deadline: \xc3\xa9\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /predictions/%zz/{} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    b"GARBAGE\r\n\r\n",
    _POST + b"X-Atelier: drain\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    _POST + b"Content-Encoding: zstd\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /explanations/{} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /predictions/{} HTTP/1.0\r\ndescribe: True\r\nContent-Type: application/json\r\nContent-Length: 1\r\n\r\n[",
    _POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
)


def hang_up(server: Server, model: str = "text", count: int = 200) -> FaultResult:
    """Clients that read the beginning of a stream and disconnect; their slots come free, others are served."""
    body = json.dumps({"max_tokens": 200, "stream": True}).encode()
    head = f"POST /predictions/{model} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    opened = 0
    for _ in range(count):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(server.inference.removeprefix("unix:"))
            client.sendall(request)
            opened += client.recv(4096).startswith(b"HTTP/1.1 ")
    recovered = until_answered(server, model)
    eventually(
        lambda: server.control(model, "health")["in_flight"] == 0, 30, "slots of disconnected clients stay taken"
    )
    if opened != count:
        raise AssertionError(f"{count - opened} of {count} streams did not begin")
    return FaultResult(f"{count} clients disconnect mid-stream", {"200": opened}, round(recovered, 2))


def malformed_json(server: Server, model: str, count: int = 1000, seed: int = 0) -> FaultResult:
    """Bodies that are no request, made by breaking one that is."""
    numbers = random.Random(seed)
    outcomes: dict[str, int] = {}
    for _ in range(count):
        body = bytearray(json.dumps({"seed": numbers.randrange(2**60), "n": 2, "format": "png"}).encode())
        for _ in range(numbers.randint(1, 6)):
            at = numbers.randrange(len(body))
            body[at : at + numbers.randint(0, 3)] = numbers.randbytes(numbers.randint(0, 4))
        status = str(server.post(bytes(body), model).status)
        outcomes[status] = outcomes.get(status, 0) + 1
    return FaultResult(f"{count} malformed JSON bodies", outcomes, round(until_answered(server, model), 2))


def malformed_http(server: Server, model: str, rounds: int = 5) -> FaultResult:
    """Forms, headers and chunks that are none: TorchServe's front end refuses them or hangs up, no worker dies."""
    outcomes: dict[str, int] = {}
    for template in MALFORMED * rounds:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(3)
            client.connect(server.inference.removeprefix("unix:"))
            client.sendall(template.replace(b"/{} ", f"/{model} ".encode()))
            try:
                answer = client.recv(4096)
            except OSError:
                answer = b""
        word = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "hung up"
        outcomes[word] = outcomes.get(word, 0) + 1
    return FaultResult("malformed forms and headers", outcomes, round(until_answered(server, model), 2))


def costly_bodies(
    server: Server, model: str, count: int = 16, fields: int = 60_000, objects: int = 20_000
) -> FaultResult:
    """Forms of tens of thousands of fields and JSON of as many objects: refused unread, beside traffic that goes on."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    tree = b"[" + b"{}," * objects + b"1]"

    def send() -> None:
        with ThreadPoolExecutor(8) as pool:
            forms = [pool.submit(server.post, b"a&" * fields, model, form) for _ in range(count)]
            trees = [pool.submit(server.post, tree, model) for _ in range(4 * count)]
            found = {future.result().status for future in forms}, {future.result().status for future in trees}
        if found != ({415}, {400}):
            raise AssertionError(f"forms and bodies of tiny objects got {found}, wanted 415 and 400")

    return under_traffic(server, model, f"{count} large forms, {4 * count} bodies of tiny objects", send)
