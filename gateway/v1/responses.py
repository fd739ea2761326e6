"""`POST /v1/responses`: the next turn of a conversation, as OpenAI's newer clients ask for it. None of them is kept."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack
from typing import NoReturn

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.bodies import read_json
from gateway.departure import unless_gone
from gateway.described import Described
from gateway.errors import ApiError
from gateway.v1.asked import Asked, renamed
from gateway.v1.events import EVENTS
from gateway.v1.fields import checked, params_of
from gateway.v1.response_fields import RESPONSES, said
from gateway.v1.response_shapes import Writing
from gateway.v1.texts import MAX_ASK, named, text_model
from gateway.v1.written import Part, open_first, streamed, whole
from gateway.work import Passing, ordered, receipt_header

NAMES = {"max_tokens": "max_output_tokens", "messages": "input", "prompt": "input", "text": "input"}


def responds(model: Described) -> bool:
    """Whether a model answers a text with a text."""
    return model.medium == "text" and any(model.has(name) for name in ("messages", "prompt", "text"))


async def responses(request: Request) -> Response:
    """One response."""
    body = await read_json(request, MAX_ASK)
    model = await text_model(request, body, responds)
    settings = request.app.state.settings
    asked = checked(RESPONSES, body, model, settings.ignore_fields)
    params = params_of(RESPONSES, asked, model) | said(asked, model, settings.system.get(model.name, "refuse"))
    stream = asked.flag("stream")
    if stream:
        params["stream"] = True
    part = Part(ordered(request, model, params))
    try:
        return await unless_gone(request, (_streamed if stream else _whole)(request, part, asked))
    except ApiError as error:
        raise renamed(error, NAMES) from None


async def _whole(request: Request, part: Part, asked: Asked) -> Response:
    found, answers = await whole(request.app.state, [part])
    writing = Writing(part.order.model, asked, answers[0].receipt.get("fingerprint"))
    writing.add(found[0])
    body = json.dumps(writing.document(), ensure_ascii=False).encode()
    return Response(body, 200, receipt_header(answers[0].receipt_text), "application/json")


async def _streamed(request: Request, part: Part, asked: Asked) -> Response:
    state = request.app.state
    async with AsyncExitStack() as opened:
        first = await open_first(state, part, opened)
        first.stack = opened.pop_all()
        writing = Writing(part.order.model, asked, first.answer.receipt.get("fingerprint"))
        pieces = named(writing.events(streamed(state, [part], first)), NAMES)
        headers = receipt_header(first.answer.receipt_text)
        return Passing(first.stack, pieces, EVENTS, headers=headers, on_error=writing.broken)
    raise AssertionError("an exit stack swallows nothing")


async def kept(request: Request) -> NoReturn:
    """`GET` and `DELETE /v1/responses/ID`: there is none, ever."""
    shown = request.path_params["id"][:60]
    raise ApiError(404, f"there is no response {shown!r}: none is kept once it is sent; ask for it again")


routes: list[BaseRoute] = [
    Route("/v1/responses", responses, methods=["POST"]),
    Route("/v1/responses/{id}", kept, methods=["GET", "DELETE"]),
]
