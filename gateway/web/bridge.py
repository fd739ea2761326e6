"""Flask within the event loop's application: `/` and everything below `/web/`."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from a2wsgi import WSGIMiddleware
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Message, Receive, Scope, Send

from gateway.accounts.auth import Accounts
from gateway.errors import ApiError, overloaded
from gateway.settings import Settings
from gateway.web.pages import pages

LOGINS = 8  # that may wait for their turn at once; more are told to come again, and the page goes on
COSTLY = frozenset({"/web/login", "/web/account/password", "/web/admin/users"})  # they hash a password
THREADS = 4  # that write pages; who comes when all are at work waits, as many as there may be connections


class Web:
    """The page's routes, and the threads behind them."""

    def __init__(self, settings: Settings) -> None:
        self.accounts: Accounts | None = None  # once they are open
        self._logins = 0
        self._wsgi = WSGIMiddleware(pages(settings, self._opened), workers=THREADS)  # type: ignore[arg-type]
        # A route for the page alone: a mount at the root would answer for every path that nobody has.
        self.routes: list[BaseRoute] = [Route("/", self, methods=["GET"]), Mount("/web", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. The answer is whole before any of it is sent, so that no slow reader holds a thread."""
        if not scope["query_string"].isascii():
            raise ApiError(400, "the query string is not ASCII: other letters are written as %XX")
        logging_in = scope["method"] == "POST" and scope["path"] in COSTLY
        if logging_in and self._logins >= LOGINS:
            raise overloaded("many are signing in just now; try again", 2.0)
        self._logins += logging_in
        try:
            await self._answer(scope, receive, send)
        finally:
            self._logins -= logging_in

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        messages: list[Message] = []

        async def keep(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        # Paths are Flask's as they came: what a mount took off is its own affair.
        await self._wsgi({**scope, "root_path": ""}, receive, keep)  # type: ignore[arg-type]
        body = b"".join(message.get("body", b"") for message in messages)
        await send(messages[0])
        await send({"type": "http.response.body", "body": body})

    def _opened(self) -> Accounts:
        assert self.accounts is not None  # nobody is let in before
        return self.accounts

    async def close(self) -> None:
        """End the threads."""
        await asyncio.to_thread(self._wsgi.executor.shutdown)
