"""`POST /api/generate/NAME`: everything that a model takes, and its answer as it comes."""

from __future__ import annotations

from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.departure import unless_gone
from gateway.moderation.events import texts_of, whole_events
from gateway.native.orders import order_of
from gateway.v1.events import broken
from gateway.work import Order, Passing, answered, checked, made, metered, receipt_header


async def generate(request: Request) -> Response:
    """The model's own bytes, with its receipt; as a stream where the request says `stream`."""
    order = await order_of(request, request.path_params["name"])
    if order.params.get("stream") is True:
        return await unless_gone(request, streamed(request, order))
    answer = await unless_gone(request, made(request.app.state, order))
    return Response(answer.body, 200, answer.headers, answer.content_type)


async def streamed(request: Request, order: Order) -> Response:
    """The pieces of an answer as they come, once its head is there."""
    state = request.app.state
    await checked(state, order)
    async with AsyncExitStack() as opened:
        answer, meter = await opened.enter_async_context(answered(state, order))
        headers = receipt_header(answer.receipt_text)
        pieces = metered(answer, meter)
        on_error = None
        if order.model.medium == "text" and state.moderation.on:
            pieces, on_error = state.moderation.watch(order, whole_events(pieces), texts_of, answer.refuse), broken
        return Passing(opened.pop_all(), pieces, answer.content_type, headers=headers, on_error=on_error)
    raise AssertionError("an exit stack swallows nothing")


routes: list[BaseRoute] = [Route("/api/generate/{name}", generate, methods=["POST"])]
