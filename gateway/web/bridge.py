"""Flask within the event loop's application: `/` and everything below `/web/`."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from a2wsgi import WSGIMiddleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Message, Receive, Scope, Send

from gateway.errors import ApiError
from gateway.settings import Settings
from gateway.web.pages import pages

THREADS = 4  # that write pages; who comes when all are at work waits, as many as there may be connections


class Web:
    """The page's routes, and the threads behind them."""

    def __init__(self, settings: Settings) -> None:
        self._wsgi = WSGIMiddleware(pages(settings), workers=THREADS)  # type: ignore[arg-type]
        # A route for the page alone: a mount at the root would answer for every path that nobody has.
        self.routes: list[BaseRoute] = [Route("/", self, methods=["GET"]), Mount("/web", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. The answer is whole before any of it is sent, so that no slow reader holds a thread."""
        if not scope["query_string"].isascii():
            raise ApiError(400, "the query string is not ASCII: other letters are written as %XX")
        messages: list[Message] = []

        async def keep(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        # Paths are Flask's as they came: what a mount took off is its own affair.
        await self._wsgi({**scope, "root_path": ""}, receive, keep)  # type: ignore[arg-type]
        body = b"".join(message.get("body", b"") for message in messages)
        await send(messages[0])
        await send({"type": "http.response.body", "body": body})

    async def close(self) -> None:
        """End the threads."""
        await asyncio.to_thread(self._wsgi.executor.shutdown)
