"""`POST /v1/audio/speech`: a sound as it is made, as a whole file, or as events."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.answer import Answer
from gateway.bodies import read_json
from gateway.departure import unless_gone
from gateway.described import Described
from gateway.errors import REFUSED, ApiError
from gateway.units import Meter
from gateway.upstream import MAX_BODY
from gateway.v1.asked import model_name, refuse, renamed
from gateway.v1.raw import SOUNDS, wanted
from gateway.v1.speech_fields import FIELDS, SpeechAsk, reads, speech_ask
from gateway.work import Order, Passing, answered, checked, made, metered, ordered, receipt_header

EVENTS = "text/event-stream"


async def speech(request: Request) -> Response:
    """A sound that a model makes of a text, or of its own parameters."""
    body = await read_json(request, MAX_BODY)
    state = request.app.state
    model: Described = await state.models.get(model_name(body))
    if model.medium != "audio":
        refuse("model", f"model {model.name} makes {model.medium}, not sound; GET /v1/audio/models lists what there is")
    request.state.caller.need(model.medium)
    readers = [other.name for other in state.models.known() if other.medium == "audio" and other.has("text")]
    accepted = wanted(request.headers.get("accept"), SOUNDS)
    ask = speech_ask(body, model, readers, state.settings.voices, state.settings.ignore_fields, accepted)
    order = ordered(request, model, ask.params)
    try:
        if ask.as_events or ask.params.get("stream"):
            return await unless_gone(request, _streamed(request, order, ask))
        result = await unless_gone(request, made(state, order))
    except ApiError as error:
        if error.param == "text" and error.code != REFUSED:
            error.message += f" ({reads(model)})"
        raise renamed(error, FIELDS) from None
    return Response(result.body, 200, result.headers, result.content_type)


async def _streamed(request: Request, order: Order, ask: SpeechAsk) -> Response:
    """The sound as it comes, once its head is there."""
    await checked(request.app.state, order)
    async with AsyncExitStack() as opened:
        answer, meter = await opened.enter_async_context(answered(request.app.state, order))
        headers = receipt_header(answer.receipt_text)
        if ask.as_events:
            pieces = _events(answer, meter, ask.characters)
            return Passing(opened.pop_all(), pieces, EVENTS, headers=headers, on_error=_broken)
        return Passing(opened.pop_all(), metered(answer, meter), answer.content_type, headers=headers)
    raise AssertionError("an exit stack swallows nothing")


async def _events(answer: Answer, meter: Meter, characters: int) -> AsyncGenerator[bytes, None]:
    """`speech.audio.delta` for each piece, and `speech.audio.done` with the usage.

    A character of the text is counted as a token that was read, a second that was begun as one that was written.
    """
    async for piece in metered(answer, meter):
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
    seconds = math.ceil(meter.seconds)
    usage = {"input_tokens": characters, "output_tokens": seconds, "total_tokens": characters + seconds}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _broken(error: ApiError) -> bytes:
    return _event({"type": "error", **error.document()})


def _event(document: dict[str, object]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


routes: list[BaseRoute] = [Route("/v1/audio/speech", speech, methods=["POST"])]
