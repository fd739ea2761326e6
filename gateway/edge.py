"""The one layer that every request goes through: id, Host and Origin, key, limits, errors, metrics, the log."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Message, Receive, Scope, Send

from gateway import errors
from gateway.accounts.caller import share_of
from gateway.errors import ApiError
from gateway.logs import request_id
from gateway.origins import Origins, of_this_machine
from gateway.spool import Cleared
from gateway.traces import Span, tell

HEALTH = "/healthz"
PUBLIC = frozenset(  # without a key, also while draining
    {HEALTH, "/readyz", "/openapi.json", "/docs", "/", "/v2/health/live", "/v2/health/ready"}
)
METRICS = "/metrics"  # also while draining, but with a key where keys are wanted
OPEN = ("/v1/results/", "/web/")  # the same: whoever knows the name of a result may have it; the page's files
SECURITY = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox")  # unless a page says so
HSTS = (b"strict-transport-security", b"max-age=31536000")  # over TLS: browsers come by no other way for a year
PIECE = 64 << 10  # bytes of a body that are handed on before its reader has taken some
MAX_HELD = 256 << 20  # bytes of answers that their readers have not taken, of all callers together
CLOSE = (b"connection", b"close")
log = structlog.get_logger("gateway")


class InHand:
    """Whether the gateway is stopping, and what it has in hand."""

    def __init__(self) -> None:
        self.draining = False
        self.requests = 0
        self.unread = 0  # bytes of large answers that are being sent


class Edge:
    """ASGI around Starlette's router: it adds to the head of every answer, and hands bodies on piece by piece."""

    def __init__(self, app: Starlette, origins: Origins) -> None:
        self.app, self.state, self.origins = app, app.state, origins
        self.router = Cleared(app.router)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the lifespan of the process."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] in PUBLIC:  # a launcher and a kubelet ask all the time
            await self._exchange(scope, receive, send, None)
            return
        with self.state.traces.request(scope["headers"]) as span:
            await self._exchange(scope, receive, send, span)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send, span: Span | None) -> None:
        exchange = Exchange(self, scope, send)
        in_hand = self.state.in_hand
        in_hand.requests += 1
        try:
            await self._handle(exchange, scope, receive)
        except ClientDisconnect:
            exchange.status = 499
            self.state.metrics.left.inc()
        # Whatever a route raises is an answer, and logged by `_told`. Cancelled: the time to stop is over.
        except (Exception, asyncio.CancelledError) as error:
            told = _told(error)
            exchange.reason = told.message if told.status >= 500 else None
            if exchange.status is None:
                await errors.response(told, scope["path"])(scope, receive, exchange.send)
            else:
                log.warning("an answer broke off", reason=told.message)
        finally:
            in_hand.requests -= 1
            in_hand.unread -= exchange.held
            self._account(exchange, scope, span)

    async def _handle(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        state = self.state
        hosts, origin = exchange.hosts, exchange.origin
        self.origins.check(hosts, origin)
        if scope["method"] == "OPTIONS" and self.origins.allows(origin):
            await Response(status_code=204, headers=self.origins.preflight())(scope, receive, exchange.send)
            return
        if scope["path"] in PUBLIC or scope["path"].startswith(OPEN):
            await self.router(scope, receive, exchange.send)
            return
        if state.in_hand.draining and scope["path"] != METRICS:
            raise errors.overloaded("the gateway is stopping; send the request again")
        if scope["query_string"] and scope["method"] == "POST" and self._takes(scope):
            raise ApiError(400, "the request has a query string, which nothing here reads: send all in the body")
        changes = scope["method"] not in ("GET", "HEAD")
        caller = scope["state"]["caller"] = await state.accounts.caller(Headers(raw=scope["headers"]), changes)
        scope["state"]["owner"] = share_of(caller.owner)
        works = scope["method"] == "POST"  # to ask about a job is no work beside it
        async with state.limits.admit(caller, works=works):
            scope["state"]["record"] = state.accounts.audit.begin(scope["state"]["id"], caller.id)
            with state.accounts.standing.running(caller):
                await self.router(scope, receive, exchange.send)

    def _takes(self, scope: Scope) -> bool:
        """Whether a route takes this path and method; what none takes is told so by the router."""
        found = next((route for route in self.app.router.routes if route.matches(scope)[0] is Match.FULL), None)
        endpoint = getattr(found, "endpoint", None)
        return found is not None and (not isinstance(endpoint, type) or hasattr(endpoint, scope["method"].lower()))

    def _account(self, exchange: Exchange, scope: Scope, span: Span | None) -> None:
        route = getattr(scope.get("route"), "path", "none")
        seconds = time.perf_counter() - exchange.began
        status = exchange.status or 499
        self.state.metrics.answered(route, status, seconds)
        if span is not None:
            tell(span, exchange.id, scope["method"], route, status)
        caller = scope["state"].get("caller")
        if (record := scope["state"].get("record")) is not None:
            self.state.accounts.audit.end(record, route, status)
        write = log.debug if route == HEALTH and status == 200 else log.info  # a launcher asks each second
        write(
            "answer",
            request=exchange.id,
            method=scope["method"],
            route=route,
            status=status,
            ms=round(seconds * 1e3, 1),
            key=caller.id if caller is not None else None,
            **({"reason": exchange.reason} if exchange.reason is not None else {}),
        )


class Exchange:
    """One request and its answer, as the outer layer keeps it."""

    def __init__(self, edge: Edge, scope: Scope, send: Send) -> None:
        self.began = time.perf_counter()
        self.id = secrets.token_hex(16)
        request_id.set(self.id)
        self.status: int | None = None  # once the answer has begun; 499: its caller left
        self.reason: str | None = None  # of a failure, in words that hold none of the caller's
        self.held = 0
        self.hosts: list[bytes] = []
        self.origin: bytes | None = None
        self._edge, self._send = edge, send
        self.secure = scope.get("scheme") == "https"
        headers = []
        for item in scope["headers"]:
            name = item[0]
            if name == b"host":
                self.hosts.append(item[1])
            elif name == b"origin":
                self.origin = item[1]
            elif name.startswith(b"x-atelier"):
                continue  # words between us and upstream, which no caller may say
            headers.append(item)
        scope["headers"] = headers
        scope["app"] = edge.app
        scope["state"] = {"id": self.id}

    async def send(self, message: Message) -> None:
        """Hand a part of the answer on. Raises `ApiError` before the first where too much is unread."""
        if message["type"] == "http.response.start":
            message["headers"] = self._head(message["headers"])
            await self._send(message)
            self.status = message["status"]
            return
        body = message.get("body", b"")
        if len(body) <= PIECE:
            await self._send(message)
            return
        view, more = memoryview(body), message.get("more_body", False)
        for at in range(0, len(body), PIECE):
            last = at + PIECE >= len(body)
            await self._send({**message, "body": view[at : at + PIECE], "more_body": more or not last})

    def _head(self, given: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        names = dict(given)
        length = int(names.get(b"content-length", b"0"))
        if length > PIECE:
            if self._edge.state.in_hand.unread + length > MAX_HELD:
                raise errors.overloaded("too many answers wait for callers who read slowly; send the request again")
            self.held = length
            self._edge.state.in_hand.unread += length
        headers = [*given, *(item for item in SECURITY if item[0] not in names), (b"x-request-id", self.id.encode())]
        if b"content-security-policy" not in names:
            headers.append(PAGE)
        if self.secure and self.hosts and not of_this_machine(self.hosts[0]):
            headers.append(HSTS)
        if self._edge.origins.allows(self.origin):
            headers += self._edge.origins.headers(self.origin or b"")
        if self._edge.state.in_hand.draining:
            headers.append(CLOSE)
        return headers


def _told(error: BaseException) -> ApiError:
    """What a caller is told of what went wrong; what nobody foresaw goes into the log."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, HTTPException):
        return ApiError(error.status_code, _http_message(error), headers=error.headers)
    if isinstance(error, asyncio.CancelledError):
        return errors.overloaded("the gateway stopped before the answer was there; send the request again")
    log.exception("a request could not be answered")
    return ApiError(500, "the gateway could not answer this request; its log has the reason")


def _http_message(error: HTTPException) -> str:
    if error.status_code == 404:
        return "there is nothing at this path; /docs and /openapi.json list what there is"
    if error.status_code == 405:
        allowed: Any = (error.headers or {}).get("Allow", "other methods")
        return f"this path takes {allowed}"
    return str(error.detail)
