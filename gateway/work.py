"""One request to a model on a caller's behalf: may he, is there quota, does it fit, and what it came to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import Any

from starlette.datastructures import State
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway.accounts.caller import UNITS, Caller
from gateway.answer import RECEIPT, Answer
from gateway.described import Described
from gateway.errors import ApiError
from gateway.history.keeper import Making
from gateway.spool import Kept
from gateway.streaming import Stream
from gateway.units import Meter
from gateway.upstream import MAX_BODY

__all__ = ["Made", "Order", "Passing", "made", "ordered", "receipt_header"]


@dataclasses.dataclass(frozen=True)
class Order:
    """What is asked of a model, by whom; `kept` has the files that belong to it."""

    model: Described
    params: Mapping[str, Any]
    caller: Caller
    kept: Kept
    route: str  # that it came by, as it is written in the table of routes
    job: str | None = None  # the id of the job that it is


@dataclasses.dataclass(frozen=True)
class Made:
    """A whole answer, and the receipt that came with it, as text and read."""

    body: bytes
    content_type: str
    receipt_text: str | None
    receipt: Mapping[str, Any]
    sha256s: tuple[str, ...] = ()  # of its files before they were signed; none: of what is sent

    @property
    def seed(self) -> int | None:
        """Of the first image or sound."""
        params = self.receipt.get("params")
        return params.get("seed") if isinstance(params, dict) else None


def ordered(request: Request, model: Described, params: Mapping[str, Any]) -> Order:
    """An order of whoever sent this request."""
    return Order(model, params, request.state.caller, request.state.kept, request.scope["route"].path)


@asynccontextmanager
async def answered(state: State, order: Order, making: Making | None = None) -> AsyncIterator[tuple[Answer, Meter]]:
    """The answer, once its head is there. What its meter read is spent when it ends, also where its caller leaves;
    images that broke off on the way are not. `making`: its caller keeps the answer; without it, it is kept as a stream.

    Raises `ApiError`: 403 for a key of other scopes, 429 without quota, 413, and what upstream refuses.
    """
    order.caller.need(order.model.medium)
    unit = UNITS[order.model.medium]
    spooled = await _spooled(order)
    params: Mapping[str, Any] = {} if spooled is not None else order.params
    keeping = state.history.making(order) if making is None else nullcontext()
    with keeping as stream, state.limits.hold(order.caller, unit, _expected(order)):
        async with state.upstream.generate(
            order.model.name, params, caller=order.caller.id, timeout=None, spooled=spooled
        ) as answer:
            meter, lost = Meter(order.model.medium, answer.receipt), False
            if stream is not None:
                stream.begun(answer)
                meter.beside = stream.feed
            try:
                yield answer, meter
            except ApiError:
                lost = order.model.medium == "image"  # half an image is of no use, and its caller did not end it
                raise
            finally:
                if not lost:
                    state.limits.spend(order.caller, unit, meter.amount)


async def made(state: State, order: Order) -> Made:
    """The whole answer."""
    with state.history.making(order) as making:
        async with answered(state, order, making) as (answer, meter):
            body = await answer.read()
            meter.feed(body)
            whole = Made(body, answer.content_type, answer.receipt_text, answer.receipt)
        making.keep(whole)
    return whole


def receipt_header(receipt: str | None) -> dict[str, str]:
    """The header that hands a receipt on."""
    return {} if receipt is None else {RECEIPT: receipt}


class Passing(Stream):
    """A stream that ends its order when it ends itself, also where not one piece of it was sent."""

    def __init__(
        self, opened: AsyncExitStack, pieces: AsyncGenerator[bytes, None], media_type: str, **options: Any
    ) -> None:
        super().__init__(pieces, media_type, **options)
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._opened:
            await super().__call__(scope, receive, send)


async def metered(answer: Answer, meter: Meter) -> AsyncGenerator[bytes, None]:
    """The pieces of an answer as they come."""
    async for piece in answer.chunks():
        meter.feed(piece)
        yield piece


def _expected(order: Order) -> float:
    """What is kept free of a day's quota: the images asked for, and one unit of what cannot be known before.

    No more than the model makes, which refuses more: a number of any length would swallow what others hold.
    """
    count, spec = order.params.get("n"), order.model.params.get("n")
    if order.model.medium != "image" or not isinstance(count, int) or spec is None:
        return 1.0
    return float(max(1, min(count, int(spec.maximum or 1))))


async def _spooled(order: Order) -> Any:
    """The request as a file, where it is longer than what goes through the front end; None for others."""
    body = json.dumps(order.params, separators=(",", ":")).encode()
    if len(body) <= MAX_BODY:
        return None
    most = order.model.limits["max_request_bytes"]
    if len(body) > most:
        message = f"the request has {len(body)} bytes, model {order.model.name} takes {most}"
        raise ApiError(413, message, code="too_large")
    return await order.kept.body(body)
