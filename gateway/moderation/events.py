"""Events of a model's stream as they are handed on by routes of ours, and the pieces of text in them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from gateway.moderation.texts import choices
from gateway.moderation.watch import Piece
from gateway.v1.events import DATA, END, MAX_EVENT


async def whole_events(pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    """The same bytes, an event at a time; what is no event comes as it is, in pieces of at most `MAX_EVENT` bytes."""
    held = bytearray()
    try:
        async for piece in pieces:
            seen = max(0, len(held) - 1)
            held += piece
            while (end := held.find(END, seen)) >= 0:
                yield bytes(held[: end + len(END)])
                del held[: end + len(END)]
                seen = 0
            if len(held) > MAX_EVENT:
                yield bytes(held)
                held.clear()
        if held:
            yield bytes(held)
    finally:
        await pieces.aclose()


def texts_of(event: bytes) -> list[Piece]:
    """The pieces of text in an event; none in [DONE] and errors."""
    try:
        document = json.loads(event.removeprefix(DATA))
    except ValueError:
        return []
    return [Piece(index, text, ended) for index, text, ended in choices(document)]
