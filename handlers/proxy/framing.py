"""Answers as the frames that TorchServe's front end takes: whole ones, streamed ones and refusals.

The front end frees a request of its async mode only at a frame marked "false". Over HTTP an answer is a stream of one
piece and an empty end; an error is a plain frame and that end, because the body of a stream that begins with a status
over 399 is lost. Both go out in one write, so that the front end has forgotten the request before its client can send
another.
"""

from __future__ import annotations

import json
from typing import Literal

from handlers.proxy.wire import Call, encode
from handlers.refusals import STATUSES, Refusal

JSON = "application/json"
EVENTS = "text/event-stream"


def whole_answer(call: Call, body: bytes, status: int = 200) -> bytes:
    """All frames of a JSON answer that is known at once; health alone has a status other than 200.

    What did not come over HTTP takes one frame: a second would be a second answer.
    """
    if not call.is_http:
        return encode(call.id, body, status, _phrase(status), JSON, stream="false")
    stream: Literal["true"] | None = None if status >= 400 else "true"
    return encode(call.id, body, status, _phrase(status), JSON, stream=stream) + encode(call.id, b"", stream="false")


def refused(call: Call, refusal: Refusal, begun: str | None = None) -> bytes:
    """All frames that are left of an answer that is refused.

    `begun` is the content type of an answer whose status has gone out, None before that.
    A stream of events that has begun says why it ends; others only end early.
    """
    body = json.dumps(refusal.document()).encode()
    if begun is not None and call.is_http:
        event = b"data: " + json.dumps({"error": refusal.document()}).encode() + b"\n\n"
        piece = event if begun.startswith(EVENTS) else b""
        return encode(call.id, piece, stream="true") + encode(call.id, b"", stream="false")
    # No header ever holds text of the user's: a line break in one would kill the worker.
    headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
    parts = (call.id, body, refusal.status, _phrase(refusal.status), JSON, headers)
    if not call.is_http:
        return encode(*parts, stream="false")
    return encode(*parts) + encode(call.id, b"", stream="false")


def _phrase(status: int) -> str:
    return STATUSES[status].phrase if status in STATUSES else ""
