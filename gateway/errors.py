"""Errors of the gateway in the shape that OpenAI's clients read, and what upstream's errors become."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    421: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    499: "cancelled",
    500: "server_error",
    502: "server_error",
    503: "server_error",
    504: "server_error",
}
CODES = {404: "not_found", 408: "timeout", 499: "cancelled", 503: "overloaded", 504: "deadline"}
# What is told where upstream says nothing, and the code, by status.
WORDS: dict[int, tuple[str, str | None]] = {
    413: ("the request is larger than the model takes", "too_large"),
    499: ("the request was cancelled", "cancelled"),
    504: ("the deadline passed before the answer was whole", "deadline"),
}
INFERENCE = "/v2"  # the path below which errors are {"error": "what is wrong"}
OTHER = "the model answered in a way that nobody expected; the log of the server has it"
FAILED = "the model could not compute this request; the log of the server has the reason"


class ApiError(Exception):
    """A refusal or failure that a caller is told. `retry_after` in seconds; `should_retry` False stops clients."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        type: str | None = None,
        retry_after: float | None = None,
        should_retry: bool | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code if code is not None else CODES.get(status)
        self.param = param
        self.type = type or TYPES.get(status) or ("server_error" if status >= 500 else "invalid_request_error")
        self.retry_after = retry_after
        self.should_retry = False if should_retry is None and status == 500 else should_retry
        self.headers = dict(headers or {})

    def plain(self) -> ApiError:
        """The same without what led to it, for whoever keeps it: a traceback holds all that was worked on."""
        return ApiError(
            self.status,
            self.message,
            code=self.code,
            param=self.param,
            type=self.type,
            retry_after=self.retry_after,
            should_retry=self.should_retry,
            headers=self.headers,
        )

    def document(self) -> dict[str, Any]:
        """`{"error": {...}}`: the body of the answer, and the last event of a stream that broke."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error}


def response(error: ApiError, path: str = "") -> Response:
    """The answer to a request that failed, of the Open Inference Protocol's shape below its `path`.

    The outer layer adds the request's id, as to every answer.
    """
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.should_retry is not None:
        headers["x-should-retry"] = "true" if error.should_retry else "false"
    document = {"error": error.message} if path == INFERENCE or path.startswith(f"{INFERENCE}/") else error.document()
    return Response(json.dumps(document), error.status, headers, "application/json")


def overloaded(message: str, seconds: float = 1.0) -> ApiError:
    """A 503 that says when to come again: `seconds`, and up to twice that, so that not all come back at once."""
    return ApiError(503, message, code="overloaded", retry_after=seconds * (1 + random.random()))


def from_upstream(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """What an error of the serving side becomes for a caller."""
    try:
        document = json.loads(body)
    except ValueError:
        document = {}
    if not isinstance(document, dict):
        document = {}
    message, field = document.get("message"), document.get("field")
    message = message if isinstance(message, str) else ""
    if status in (503, 507):
        return overloaded(message or "the model is busy or being replaced; send the request again", _seconds(headers))
    if status == 404:
        return overloaded("the model is not being served just now; send the request again", 2.0)
    usual, code = WORDS.get(status, (OTHER if status < 500 else FAILED, None))
    if status not in WORDS and (status >= 500 or not message):
        return ApiError(500, message or usual)
    return ApiError(status, message or usual, code=code, param=field if isinstance(field, str) else None)


def _seconds(headers: Mapping[str, str]) -> float:
    try:
        return min(60.0, max(1.0, float(headers.get("retry-after", "1"))))
    except ValueError:
        return 1.0
