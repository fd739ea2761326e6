"""Answers that are sent while they are made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gateway.departure import watched
from gateway.errors import ApiError

log = structlog.get_logger("gateway.streaming")


class Stream(Response):
    """Sends what a generator yields, piece by piece; the generator ends when the caller leaves.

    What goes wrong before the first piece is an ordinary error with its status. After it `on_error` writes the last
    piece (an event that says what happened); without it the connection ends without the end of the answer.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        on_error: Callable[[ApiError], bytes] | None = None,
    ) -> None:
        self.pieces = pieces
        self.on_error = on_error
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers({"x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. Raises `ClientDisconnect` when the caller leaves, `ApiError` before the first piece or without
        `on_error`."""
        try:
            await watched(receive, self._send(send))
        finally:
            await self.pieces.aclose()

    async def _send(self, send: Send) -> None:
        piece = await anext(self.pieces, None)
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                piece = await anext(self.pieces, None)
        except ApiError as error:
            if self.on_error is None:
                raise
            log.warning("a stream broke", reason=error.message)
            await send({"type": "http.response.body", "body": self.on_error(error), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
