"""Random requests in raw HTTP, made from a model's own document: right ones, nearly right ones, and plain nonsense.

Every request is complete (its body is as long as it says), so every one wants an answer or the end of the connection.
What only TorchServe's front end decides is left out: forms that cannot be decoded, chunks that are none.
"""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

STRINGS = (
    "",
    "a",
    "\ud800",
    "\x00",
    "é" * 40,
    "😀",
    "\u202eabc",
    "x" * 3000,
    "NaN",
    "7",
    "png",
    "PNG",
    "Load model failed",
)
NUMBERS = (0, -1, 1, 7.0, 1e308, 5e-324, -0.0, 2**53, 2**63, 10**400, 0.1, 1e3, True, None)
NAMES = (
    "instances",
    "inputs",
    "prompt",
    "messages",
    "model",
    "seed ",
    "Seed",
    "__proto__",
    "",
    "n\n",
    "stop",
    "x" * 200,
)
TYPES = (
    "application/json",
    "application/json",
    "application/json",
    "application/json; charset=utf-8",
    'APPLICATION/JSON; charset="UTF-8"',
    "application/json; charset=utf-16",
    "application/json; charset=klingon",
    "text/plain",
    "application/x-ndjson",
    "application/octet-stream",
)
HEADERS = (
    ("Accept", "image/png"),
    ("Content-Encoding", "gzip"),
    ("Content-Encoding", "br"),
    ("X-Atelier", "ping"),
    ("X-Atelier", "health"),
    ("X-Atelier", "describe"),
    ("X-Atelier", "drain"),
    ("X-Atelier", "hold"),
    ("X-Atelier", "release"),
    ("X-Atelier", "refuse"),
    ("X-Atelier", "cancel"),
    ("X-Atelier", "nonsense"),
    ("X-Atelier-Id", "an-id"),
    ("X-Atelier-Id", "x" * 5000),
    ("X-Atelier-Deadline", "1"),
    ("X-Atelier-Deadline", "-5"),
    ("X-Atelier-Deadline", "soon"),
    ("X-Atelier-Deadline", "1e400"),
    ("describe", "True"),
    ("explain", "True"),
    ("Cookie", "c=" + "x" * 2000),
    ("Range", "bytes=0-1"),
    ("Expect", "100-continue"),
    ("ts_stream_next", "true"),
)


class RandomRequests:
    """An endless series of requests to one model, the same for the same `seed`."""

    def __init__(self, model: str, document: dict[str, Any], seed: int) -> None:
        self._model, self._specs, self._example = model, document["params"], document["example"]
        self._random = random.Random(seed)

    def next(self) -> bytes:
        """A whole request, its connection to be closed after the answer."""
        draw = self._random
        body = self._body()
        headers = [draw.choice(HEADERS) for _ in range(draw.choice((0, 0, 0, 1, 1, 2, 5)))]
        if ("Content-Encoding", "gzip") in headers and draw.random() < 0.8:
            body = gzip.compress(body)
        if draw.random() < 0.95:
            headers.append(("Content-Type", draw.choice(TYPES)))
        if draw.random() < 0.97:
            headers.append(("Host", draw.choice(("localhost", "127.0.0.1", "evil.example", ""))))
        method = draw.choice(("POST",) * 9 + ("PUT",))
        version = draw.choice(("HTTP/1.1",) * 9 + ("HTTP/1.0",))
        path = draw.choice((f"/predictions/{self._model}",) * 9 + (f"/predictions/{self._model}?seed=9",))
        draw.shuffle(headers)
        lines = [f"{method} {path} {version}", *(f"{name}: {value}" for name, value in headers)]
        return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body

    def _body(self) -> bytes:
        draw = self._random
        kind = draw.random()
        if kind < 0.1:
            return draw.randbytes(draw.choice((0, 1, 10, 1000)))
        if kind < 0.15:
            return draw.choice((b"[", b"{", b'{"a":', b"[{},", b'"')) * draw.choice((1, 100, 20_000))
        params = {**(self._example if draw.random() < 0.8 else {}), **self._few_tokens()}
        for _ in range(draw.choice((0, 1, 1, 2, 4))):
            name = draw.choice([spec["name"] for spec in self._specs]) if draw.random() < 0.85 else draw.choice(NAMES)
            params[name] = self._value(2)
        text = json.dumps(params, ensure_ascii=draw.random() < 0.5)
        body = text.encode(draw.choice(("utf-8",) * 8 + ("utf-16", "utf-8-sig")), "surrogatepass")
        if kind < 0.35:
            broken = bytearray(body)
            for _ in range(draw.randint(1, 4)):
                at = draw.randrange(len(broken) + 1)
                broken[at : at + draw.randint(0, 3)] = draw.randbytes(draw.randint(0, 4))
            body = bytes(broken)
        return body

    def _few_tokens(self) -> dict[str, Any]:
        return {"max_tokens": 8} if any(spec["name"] == "max_tokens" for spec in self._specs) else {}

    def _value(self, depth: int) -> Any:
        draw = self._random
        kind = draw.random()
        if kind < 0.4:
            return draw.choice(NUMBERS)
        if kind < 0.7 or depth == 0:
            return draw.choice(STRINGS)
        if kind < 0.85:
            return [self._value(depth - 1) for _ in range(draw.choice((0, 1, 3)))]
        return {
            draw.choice((*STRINGS, "role", "content")): self._value(depth - 1) for _ in range(draw.choice((0, 1, 2)))
        }
