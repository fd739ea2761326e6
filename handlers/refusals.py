"""Refusals of requests: the HTTP status, message and metric label of one that gets no answer, or not all of it."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Status:
    """How one HTTP status is sent and counted: its phrase, the error document's `type`, the label of rejections."""

    phrase: str
    type: str
    reason: str  # docs/metrics.md


STATUSES = {
    400: Status("Bad Request", "BadRequest", "bad_request"),
    403: Status("Forbidden", "Forbidden", "bad_request"),
    404: Status("Not Found", "NotFound", "bad_request"),
    409: Status("Conflict", "Conflict", "bad_request"),
    413: Status("Payload Too Large", "TooLarge", "too_large"),
    415: Status("Unsupported Media Type", "UnsupportedMediaType", "unsupported_type"),
    499: Status("Client Closed Request", "Cancelled", "cancelled"),
    500: Status("Internal Server Error", "InternalError", "internal"),
    503: Status("Service Unavailable", "Unavailable", "busy"),
    504: Status("Deadline Exceeded", "DeadlineExceeded", "deadline"),
}
RETRY_AFTER_S = 1  # of a 503 that does not know better


class Refusal(Exception):
    """A request that is not served: its HTTP status, what was found and what is wanted, and the field at fault.

    Every 503 says when to come again: `retry_after_s`, seconds, or `RETRY_AFTER_S`. Raises `ValueError` for a status
    that `STATUSES` does not hold.
    """

    def __init__(self, status: int, message: str, field: str | None = None, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        if status not in STATUSES:
            raise ValueError(f"status {status} is no refusal's; known: {', '.join(map(str, STATUSES))}")
        self.status, self.message, self.field = status, message, field
        self.retry_after_s = (retry_after_s or RETRY_AFTER_S) if status == 503 else None

    def document(self) -> dict[str, str | int | None]:
        """The error's JSON, in the shape of TorchServe's own: code, type, message, field."""
        return {
            "code": self.status,
            "type": STATUSES[self.status].type,
            "message": self.message,
            "field": self.field,
        }


def not_computed() -> Refusal:
    """The refusal of a request whose computation failed; the log has the reason."""
    return Refusal(500, "this item could not be computed; the server's log has the reason")


def deadline_passed() -> Refusal:
    """The refusal of a request whose deadline passed while it waited or was computed."""
    return Refusal(504, "the deadline passed before the answer was whole")
