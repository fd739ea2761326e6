"""What both lanes do with a request before a generator sees it, and what goes back. No numpy: the step lane's proxy is thin."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from handlers.bundle import Bundle
from handlers.generator import BadRequest, Params, Request

DESCRIBE_FORMAT = "atelier-describe/2"
MAX_RECEIPT = 4096  # bytes, as base64url
MAX_WHY = 500  # characters of the reason; the describe document has all of it
PHRASES = {
    400: "Bad Request",
    404: "Not Found",
    413: "Payload Too Large",
    415: "Unsupported Media Type",
    499: "Client Closed Request",
    500: "Internal Server Error",
    503: "Service Unavailable",
    504: "Deadline Exceeded",
}
TYPES = {500: "InternalError", 503: "Unavailable", 504: "DeadlineExceeded"}
# The word under which a refusal is counted (docs/metrics.md), by status.
REASONS = {
    400: "bad_request",
    404: "bad_request",
    413: "too_large",
    415: "unsupported_type",
    499: "cancelled",
    500: "internal",
    503: "busy",
    504: "deadline",
}


@dataclasses.dataclass(frozen=True)
class Answer:
    """What goes back for one item."""

    body: bytes
    content_type: str = "application/json"
    status: int = 200
    receipt: str | None = None
    retry_after_s: int | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Response headers; none of them ever holds text of the user's."""
        headers = {} if self.receipt is None else {"X-Atelier-Receipt": self.receipt}
        return headers if self.retry_after_s is None else {**headers, "Retry-After": str(self.retry_after_s)}


def refusal(error: BadRequest, retry_after_s: int | None = None) -> Answer:
    """The JSON answer of a refused item, in the shape of TorchServe's own errors."""
    kind = TYPES.get(error.status, "BadRequest")
    body = {"code": error.status, "type": kind, "message": error.message, "field": error.field}
    return Answer(json.dumps(body).encode(), status=error.status, retry_after_s=retry_after_s)


def failure() -> Answer:
    """The answer of an item whose computation failed; the log has the reason."""
    return refusal(BadRequest(None, "this item could not be computed; the server's log has the reason", 500))


def read_request(bundle: Bundle, values: Mapping[str, Any], headers: Mapping[str, str]) -> Request:
    """The checked request of one item: `values` as TorchServe names them, headers by lower-case name. Raises `BadRequest`."""
    manifest = bundle.manifest
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise BadRequest(
            "Content-Type",
            "parameters are a JSON object sent as application/json (a form or a query string would lose them); "
            f"use: {_example(bundle)}",
            415,
        )
    body = values.get("body", values.get("data", b""))
    if isinstance(body, (bytes, bytearray)):  # else TorchServe has parsed it (decode_input_request=true)
        limit = manifest.limits["max_request_bytes"]
        if len(body) > limit:
            raise BadRequest(None, f"the body has {len(body)} bytes, {manifest.name} takes at most {limit}", 413)
        if not body.strip():
            raise BadRequest(None, f"the body is empty; send at least {{}}: {_example(bundle)}")
        body = parse_json(bytes(body))
    return Request(params=body, deadline=read_deadline(headers))


def read_deadline(headers: Mapping[str, str]) -> float | None:
    """The absolute deadline of a request, seconds since the epoch. Raises `BadRequest`."""
    value = headers.get("x-atelier-deadline")
    if value is None:
        return None
    try:
        deadline = float(value)
        if math.isnan(deadline):
            raise ValueError
        return deadline
    except ValueError:
        raise BadRequest(
            "X-Atelier-Deadline", "X-Atelier-Deadline wants seconds since the epoch, such as 1700000000.5"
        ) from None


def parse_json(body: bytes) -> Any:
    """The value of a JSON body. Raises `BadRequest` for what is not JSON, NaN and fields named twice."""

    def refuse_constant(name: str) -> None:
        raise BadRequest(None, f"the body holds {name}, which is not JSON; use a finite number")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise BadRequest(None, "the body names a field twice; name each once")
        return dict(pairs)

    try:
        return json.loads(body, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    except (ValueError, RecursionError) as error:
        detail = getattr(error, "msg", type(error).__name__)
        if isinstance(error, UnicodeDecodeError):
            detail = f"byte {error.start} is no UTF-8"
        raise BadRequest(
            None, f'the body is not valid JSON ({detail}); wanted an object such as {{"seed": 7}}'
        ) from None


class Receipts:
    """Receipts of one engine's answers: which model, bundle, engine and parameters made it, as base64url JSON."""

    def __init__(self, bundle: Bundle, candidate: Mapping[str, str], fingerprint: str, reason: str) -> None:
        document = {
            "model": bundle.manifest.name,
            "version": bundle.version,
            "bundle": bundle.digest,
            "candidate": dict(candidate),
            "fingerprint": fingerprint,
            "why": reason[:MAX_WHY],
        }
        self._same = json.dumps(document, separators=(",", ":"))[:-1] + ',"params":'  # for every answer

    def __call__(self, params: Params) -> str:
        """The receipt of one answer. Raises `ValueError` if it is too long for a header."""
        text = f"{self._same}{json.dumps(params.public(), separators=(',', ':'))}}}"
        encoded = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        if len(encoded) > MAX_RECEIPT:
            raise ValueError(f"a receipt of {len(encoded)} bytes is over {MAX_RECEIPT}: hash large parameters")
        return encoded


def describe(bundle: Bundle, candidate: Mapping[str, str], fingerprint: str, reason: str) -> dict[str, Any]:
    """The describe document: everything a gateway needs to offer this model to people."""
    manifest = bundle.manifest
    return {
        "format": DESCRIBE_FORMAT,
        "name": manifest.name,
        "version": bundle.version,
        "bundle": bundle.digest,
        "recipe": manifest.recipe,
        "kind": manifest.kind,
        "lane": manifest.resources.lane,
        "params": [dataclasses.asdict(spec) for spec in manifest.params],
        "content_types": list(manifest.content_types),
        "limits": manifest.limits,
        "scope": manifest.scope,
        "example": manifest.example,
        "source": manifest.source,
        "serving": {"candidate": dict(candidate), "fingerprint": fingerprint, "reason": reason},
        "certificate": bundle.certificate,
    }


def unknown_control(known: str) -> BadRequest:
    """The refusal of an X-Atelier header that nobody knows."""
    return BadRequest("X-Atelier", f"unknown value of the header X-Atelier; known: {known}")


def _example(bundle: Bundle) -> str:
    manifest = bundle.manifest
    return f"curl -H 'Content-Type: application/json' -d '{json.dumps(manifest.example)}' ADDRESS/predictions/{manifest.name}"
