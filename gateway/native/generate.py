"""`POST /api/generate/NAME`: everything that a model takes, and its answer as it comes."""

from __future__ import annotations

from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.departure import unless_gone
from gateway.native.orders import order_of
from gateway.work import Order, Passing, answered, made, metered, receipt_header


async def generate(request: Request) -> Response:
    """The model's own bytes, with its receipt; as a stream where the request says `stream`."""
    order = await order_of(request, request.path_params["name"])
    if order.params.get("stream") is True:
        return await unless_gone(request, streamed(request, order))
    answer = await unless_gone(request, made(request.app.state, order))
    return Response(answer.body, 200, answer.headers, answer.content_type)


async def streamed(request: Request, order: Order) -> Response:
    """The pieces of an answer as they come, once its head is there."""
    async with AsyncExitStack() as opened:
        answer, meter = await opened.enter_async_context(answered(request.app.state, order))
        headers = receipt_header(answer.receipt_text)
        return Passing(opened.pop_all(), metered(answer, meter), answer.content_type, headers=headers)
    raise AssertionError("an exit stack swallows nothing")


routes: list[BaseRoute] = [Route("/api/generate/{name}", generate, methods=["POST"])]
