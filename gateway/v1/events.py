"""Server-sent events: those of a model, read as they come, and ours."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from gateway.errors import ApiError, from_upstream, overloaded

EVENTS = "text/event-stream"
DONE = b"data: [DONE]\n\n"
MAX_EVENT = 1 << 20  # bytes of one event of a model
END, DATA = b"\n\n", b"data: "


def event(document: dict[str, Any]) -> bytes:
    """One event."""
    return DATA + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + END


def broken(error: ApiError) -> bytes:
    """The last event of a stream that went wrong after its head was sent; no [DONE] follows it."""
    return event(error.document())


async def documents(pieces: AsyncIterator[bytes], model: str) -> AsyncGenerator[dict[str, Any], None]:
    """The events of a model's stream, read to its end; at most one event is held, of at most `MAX_EVENT` bytes.

    Raises `ApiError`: what an event of error says, a 502 for what is no event, and a 503 where [DONE] is missing.
    """
    held, done = bytearray(), False
    async for piece in pieces:
        seen = max(0, len(held) - 1)
        held += piece
        while (end := held.find(END, seen)) >= 0:
            text, seen = bytes(held[:end]), 0
            del held[: end + len(END)]
            if text == b"data: [DONE]":
                done = True
            else:
                yield _read(text, model)
        if len(held) > MAX_EVENT:
            raise _strange(model)
    if not done:
        raise overloaded(f"model {model} broke off its answer; send the request again")


def _read(text: bytes, model: str) -> dict[str, Any]:
    try:
        document = json.loads(text.removeprefix(DATA))
    except ValueError:
        raise _strange(model) from None
    if not text.startswith(DATA) or not isinstance(document, dict):
        raise _strange(model)
    error = document.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        raise from_upstream(code if isinstance(code, int) else 500, {}, json.dumps(error).encode())
    return document


def _strange(model: str) -> ApiError:
    return ApiError(502, f"model {model} sent what is no event; run gateway and server of one version")
