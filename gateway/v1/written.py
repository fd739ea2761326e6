"""Texts of a model, asked for one order after the other or several at once, and read from its answers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any

from starlette.datastructures import State

from gateway.answer import Answer
from gateway.errors import REFUSED, ApiError
from gateway.moderation.watch import Piece
from gateway.units import Meter
from gateway.v1.events import documents
from gateway.v1.usage import Usage, read_usage
from gateway.work import Made, Order, answered, checked, made, metered

AT_ONCE = 8  # orders of one request that a model is asked for at a time


@dataclasses.dataclass(frozen=True)
class Part:
    """One order of a request: its first choice has the index `first`; `before` is repeated before each text."""

    order: Order
    first: int = 0
    before: str = ""
    place: str = ""  # of its prompt in the request, for errors: "prompt[3]"


@dataclasses.dataclass(frozen=True)
class Text:
    """A text of an answer, or what is new of it."""

    index: int
    text: str
    finish_reason: str | None  # None: it goes on
    logprobs: Any = None


@dataclasses.dataclass(frozen=True)
class Read:
    """What one document of a model says: texts, and at the end usage and the rest."""

    texts: Sequence[Text]
    usage: Usage | None
    more: Mapping[str, Any]  # `seed`, `digital_source_type`


def read(document: Mapping[str, Any], part: Part) -> Read:
    """A document of a model: an event, or a whole answer. Raises `ApiError` (502) for another shape."""
    try:
        texts = [_text(choice, part) for choice in document["choices"]]
    except (KeyError, TypeError, AttributeError):
        name = part.order.model.name
        raise ApiError(502, f"model {name} answered in another shape; run gateway and server of one version") from None
    more = {name: document[name] for name in ("seed", "digital_source_type") if name in document}
    return Read(texts, read_usage(document), more)


def _text(choice: Mapping[str, Any], part: Part) -> Text:
    turn = choice.get("message", choice.get("delta"))
    text = choice["text"] if turn is None else turn.get("content", "")
    return Text(part.first + choice["index"], text, choice["finish_reason"], choice.get("logprobs"))


async def prompts_checked(state: State, parts: Sequence[Part]) -> None:
    """Ask moderation about every prompt, each once however many texts are made of it. Raises `ApiError`."""
    for part in {part.place: part for part in reversed(parts)}.values():
        try:
            await checked(state, part.order)
        except ApiError as error:
            raise placed(error, part) from None


async def whole(state: State, parts: Sequence[Part]) -> tuple[list[Read], list[Made]]:
    """The answers to all parts, in their order; where one is refused, the others end."""
    places = asyncio.Semaphore(AT_ONCE)

    async def ask(part: Part) -> Made:
        async with places:
            try:
                return await made(state, part.order, asked_before=True)
            except ApiError as error:
                raise placed(error, part) from None

    if len(parts) == 1:
        answers = [await ask(parts[0])]
    else:
        tasks = [asyncio.create_task(ask(part)) for part in parts]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    return [read(_opened(answer), part) for answer, part in zip(answers, parts, strict=True)], answers


def _opened(answer: Made) -> Any:
    try:
        return json.loads(answer.body)
    except ValueError:
        return None


@dataclasses.dataclass
class Opened:
    """The first answer of a stream, whose head is there; `stack` ends it."""

    stack: AsyncExitStack
    answer: Answer
    meter: Meter


async def open_first(state: State, part: Part, stack: AsyncExitStack) -> Opened:
    """Ask for the first part. Raises `ApiError`."""
    try:
        answer, meter = await stack.enter_async_context(answered(state, part.order))
    except ApiError as error:
        raise placed(error, part) from None
    return Opened(stack, answer, meter)


async def allowed(state: State, parts: Sequence[Part], first: Opened) -> AsyncGenerator[Read, None]:
    """What the answers say as moderation lets it pass; where it does not, texts that were begun end with the reason
    `content_filter` before the error is raised."""
    begun: set[int] = set()
    now = [first.answer]  # that is being read
    items = streamed(state, parts, first, now)

    def refuse() -> None:
        now[0].refuse()

    found = state.moderation.watch(parts[0].order, items, _pieces, refuse)
    try:
        async for one in found:
            yield one
            begun |= {text.index for text in one.texts}
            begun -= {text.index for text in one.texts if text.finish_reason is not None}
    except ApiError as error:
        if error.code == REFUSED and begun:
            yield Read([Text(index, "", "content_filter") for index in sorted(begun)], None, {})
        raise
    finally:
        await found.aclose()


def _pieces(one: Read) -> list[Piece]:
    return [Piece(text.index, text.text, text.finish_reason is not None) for text in one.texts]


async def streamed(state: State, parts: Sequence[Part], first: Opened, now: list[Answer]) -> AsyncGenerator[Read, None]:
    """What the answers to all parts say as it comes, one part after the other: no place is held while one waits.

    `now`: a place for the answer that is read.
    """
    async with first.stack:
        async for found in _events(parts[0], first.answer, first.meter):
            yield found
    for part in parts[1:]:
        async with AsyncExitStack() as stack:
            opened = await open_first(state, part, stack)
            now[0] = opened.answer
            async for found in _events(part, opened.answer, opened.meter):
                yield found


async def _events(part: Part, answer: Answer, meter: Meter) -> AsyncGenerator[Read, None]:
    async for document in documents(metered(answer, meter), part.order.model.name):
        yield read(document, part)


def placed(error: ApiError, part: Part) -> ApiError:
    """An error about one of several prompts says which."""
    if part.place and error.param in ("prompt", "text"):
        error.message = f"{part.place}: {error.message}"
    return error
