"""The one layer that every request goes through: id, Host and Origin, key, limits, errors, metrics, the log."""

from __future__ import annotations

import secrets
import time
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope, Send

from gateway import errors
from gateway.errors import ApiError
from gateway.logs import request_id

PUBLIC = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"}  # asked without a key, also while draining
SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
log = structlog.get_logger("gateway")


class Draining:
    """Whether the gateway is stopping, and how many requests it has in hand."""

    def __init__(self) -> None:
        self.begun = False
        self.in_hand = 0


class Edge:
    """ASGI around Starlette's router. It writes the head of every answer once, and no body passes through Python
    more than once."""

    def __init__(self, app: Starlette) -> None:
        self.app = app
        self.state = app.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan of the process."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        identity = secrets.token_hex(16)
        request_id.set(identity)
        scope["app"] = self.app
        scope["headers"] = headers = [item for item in scope["headers"] if not item[0].startswith(b"x-atelier")]
        state = self.state
        state.draining.in_hand += 1
        status = 499
        started = False

        async def send_head(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started, status = True, message["status"]
                given = message["headers"] = list(message.get("headers", ()))
                names = {name for name, _ in given}
                given += [item for item in SECURITY if item[0] not in names]
                if b"x-request-id" not in names:
                    given.append((b"x-request-id", identity.encode()))
                if state.draining.begun:
                    given.append((b"connection", b"close"))
            await send(message)

        scope["state"] = {"id": identity}
        try:
            await self._handle(scope, receive, send_head, Headers(raw=headers))
        except ClientDisconnect:
            state.metrics.left.inc()
        except Exception as error:
            told = _told(error)
            if started:
                raise
            await errors.response(told, identity)(scope, receive, send_head)
        finally:
            state.draining.in_hand -= 1
            self._account(scope, status, time.perf_counter() - began)

    async def _handle(self, scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
        state = self.state
        if scope["path"] in PUBLIC:
            await self.app.router(scope, receive, send)
            return
        if state.draining.begun:
            raise errors.overloaded("the gateway is stopping; send the request again")
        caller = scope["state"]["caller"] = await state.accounts.caller(headers)
        async with state.limits.admit(caller):
            await self.app.router(scope, receive, send)

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        route: Any = scope.get("route")
        path = getattr(route, "path", "none")
        self.state.metrics.answers.labels(path, str(status)).inc()
        self.state.metrics.seconds.labels(path).observe(seconds)
        caller = scope["state"].get("caller")
        log.info("answer", route=path, status=status, ms=round(seconds * 1e3, 1), key=caller.id if caller else None)


def _told(error: Exception) -> ApiError:
    """What a caller is told of what went wrong; what nobody foresaw goes into the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _http_message(error), headers=error.headers)
    log.exception("a request could not be answered")
    return ApiError(500, "the gateway could not answer this request; its log has the reason")


def _http_message(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is nothing at this path; /openapi.json lists what there is"
    if error.status_code == 405:
        return f"this path takes {(error.headers or {}).get('Allow', 'other methods')}"
    return str(error.detail)
