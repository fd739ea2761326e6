"""What the routes for text share: who may ask which model, how often it is asked, and how the answer goes out."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.departure import unless_gone
from gateway.described import Described
from gateway.errors import ApiError
from gateway.v1.asked import Asked, model_name, refuse, renamed, shown
from gateway.v1.events import EVENTS, broken
from gateway.v1.fields import MAX_CHOICES, MAX_SEED
from gateway.v1.shapes import Shape, chunks, document, head
from gateway.v1.written import Part, open_first, streamed, whole
from gateway.work import Passing, ordered, receipt_header

MAX_ASK = 1 << 20  # bytes of a request; what goes to a model is bounded by its own limit


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request, ready to be answered."""

    parts: Sequence[Part]
    shape: Shape
    stream: bool
    include_usage: bool
    names: Mapping[str, str]  # the model's parameters -> the fields that the caller knows
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # what a whole answer repeats


async def text_model(request: Request, body: Mapping[str, Any], fits: Callable[[Described], bool]) -> Described:
    """The model that a request names. Raises `ApiError` where it does not fit the route, and lists those that do."""
    models = request.app.state.models
    model: Described = await models.get(model_name(body))
    if not fits(model):
        fitting = ", ".join(other.name for other in await models.all() if fits(other)) or "none just now"
        refuse("model", f"model {model.name} is not asked here: {_elsewhere(model)}; models that are: {fitting}")
    request.state.caller.need(model.medium)
    return model


def _elsewhere(model: Described) -> str:
    if model.medium != "text":
        return f"it makes {model.medium}: GET /api/models/{model.name} says where it is asked"
    return f"it is asked by POST {'/v1/chat/completions' if model.has('messages') else '/v1/completions'}"


def options(asked: Asked) -> tuple[bool, bool]:
    """Whether a stream is wanted, and its usage, which an answer that is no stream always has. Raises `ApiError`."""
    return asked.flag("stream"), bool(asked.fields.get("stream_options", {}).get("include_usage"))


def multiplied(
    request: Request, asked: Asked, model: Described, given: Sequence[Mapping[str, Any]], echo: Sequence[str]
) -> list[Part]:
    """The orders that make n texts of each of some sets of parameters. Raises `ApiError`.

    Text i of one set is that of seed + i, whether the model makes n by itself or is asked n times.
    """
    n = int(asked.fields.get("n", 1))
    if n * len(given) > MAX_CHOICES:
        refuse("n", f"n is {n} for {len(given)} prompts, wanted at most {MAX_CHOICES} texts in all")
    own = n if model.has("n") else 1
    several = model.has("seed") and (len(given) > 1 or own < n)
    seed = _seed(asked, n) if several else None
    parts = []
    for at, params in enumerate(given):
        place = f"prompt[{at}]" if len(given) > 1 else ""
        for i in range(n // own):
            one = dict(params)
            if own > 1:
                one["n"] = own
            if seed is not None:
                one["seed"] = seed + i
            parts.append(Part(ordered(request, model, one), at * n + i, echo[at], place))
    return parts


def _seed(asked: Asked, n: int) -> int:
    """The first seed of n: the one given, or one that is drawn."""
    seed = asked.fields.get("seed")
    if seed is None:
        return secrets.randbelow(MAX_SEED - MAX_CHOICES)
    if seed + n - 1 > MAX_SEED:
        refuse("seed", f"seed is {shown(seed)}; with n = {n} the last seed is over {MAX_SEED}")
    return int(seed)


async def answer(request: Request, ask: Ask) -> Response:
    """The answer, whole or as a stream. Raises `ApiError` about the caller's own fields."""
    try:
        return await unless_gone(request, _streamed(request, ask) if ask.stream else _whole(request, ask))
    except ApiError as error:
        raise renamed(error, ask.names) from None


async def _whole(request: Request, ask: Ask) -> Response:
    found, answers = await whole(request.app.state, ask.parts)
    receipt = answers[0].receipt
    start = head(ask.shape, ask.shape.whole, ask.parts[0].order.model.name, receipt.get("fingerprint"))
    headers = receipt_header(answers[0].receipt_text) if len(answers) == 1 else {}
    return JSONResponse({**document(ask.shape, start, found), **ask.more}, headers=headers)


async def _streamed(request: Request, ask: Ask) -> Response:
    state = request.app.state
    async with AsyncExitStack() as opened:
        first = await open_first(state, ask.parts[0], opened)
        first.stack = opened.pop_all()
        receipt = first.answer.receipt
        start = head(ask.shape, ask.shape.chunk, ask.parts[0].order.model.name, receipt.get("fingerprint"))
        headers = receipt_header(first.answer.receipt_text) if len(ask.parts) == 1 else {}
        pieces = named(chunks(ask.shape, start, streamed(state, ask.parts, first), ask.include_usage), ask.names)
        return Passing(first.stack, pieces, EVENTS, headers=headers, on_error=broken)
    raise AssertionError("an exit stack swallows nothing")


async def named(pieces: AsyncGenerator[bytes, None], names: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
    """The pieces of a stream, whose errors name the caller's own fields."""
    try:
        async for piece in pieces:
            yield piece
    except ApiError as error:
        raise renamed(error, names) from None
    finally:
        await pieces.aclose()
