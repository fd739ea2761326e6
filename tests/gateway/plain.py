"""A route that asks a model and nothing else, so that tests of the door need none of the routes behind it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway import app
from gateway.accounts.caller import ANYBODY, Caller
from gateway.departure import unless_gone
from gateway.settings import Settings
from gateway.streaming import Stream
from tests.gateway.conftest import Gateway, running


async def plain(request: Request) -> Response:
    """`POST /plain/NAME`: the body is what the model gets."""
    state = request.app.state
    params = await request.json()
    model = await state.models.get(request.path_params["model"])
    caller = request.state.caller.id

    async def whole() -> Response:
        async with state.upstream.generate(model.name, params, caller=caller) as answer:
            return Response(await answer.read(), media_type=answer.content_type)

    async def pieces() -> AsyncGenerator[bytes, None]:
        async with state.upstream.generate(model.name, params, caller=caller) as answer:
            async for piece in answer.chunks():
                yield piece

    if params.get("stream"):
        return Stream(pieces(), "text/event-stream", on_error=lambda error: f"data: {error.message}\n\n".encode())
    return await unless_gone(request, whole())


async def by_name(headers: Any, changes: bool = False) -> Caller:
    """The word after Bearer is a caller's name."""
    name = headers.get("authorization", "").removeprefix("Bearer ")
    return Caller(name, name) if name else ANYBODY


@contextmanager
def plainly(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A gateway with that route, and callers by name."""
    before = app.routes
    monkeypatch.setattr(app, "routes", lambda: [Route("/plain/{model}", plain, methods=["POST"]), *before()])
    with running(settings) as made:
        monkeypatch.setattr(made.state.accounts, "caller", by_name)
        yield made


ASK = {"messages": [{"role": "user", "content": "hello"}]}
