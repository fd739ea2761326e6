"""Texts of a stream, each piece looked at with what came before it: nothing that completes a refused word is sent.

An item waits until its last word has ended, or more letters than any rule has came after it. Of a phrase the words
before its last one have been sent by then.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import NamedTuple, TypeVar

from gateway.moderation.lists import WINDOW, Hit, Lists
from gateway.moderation.normal import normal

MAX_HELD = 64  # characters of one text that wait for the end of their word
Item = TypeVar("Item")


class Piece(NamedTuple):
    """What is new of a text; `choice` says of which, `ends` whether it was the last of it."""

    choice: int
    text: str
    ends: bool


@dataclasses.dataclass
class _Text:
    """One text of a stream: what was looked at last of it, what waits, and the rules that it met before."""

    before: str = ""
    cut: bool = False  # whether there was more before that
    held: str = ""
    rules: set[str] = dataclasses.field(default_factory=set)


async def watched(
    items: AsyncGenerator[Item, None],
    pieces: Callable[[Item], Iterable[Piece]],
    lists: Lists,
    judged: Callable[[Piece, str, list[Hit]], None],
) -> AsyncGenerator[Item, None]:
    """The items in their order, each once all its pieces were judged. `judged` raises where one is refused."""
    texts: dict[int, _Text] = {}
    waiting: deque[tuple[Item, set[int]]] = deque()  # with the texts that they wait for
    try:
        async for item in items:
            open_: set[int] = set()
            for piece in pieces(item):
                text = texts.setdefault(piece.choice, _Text())
                text.held += piece.text
                if _whole(text.before + text.held) or piece.ends or len(text.held) > MAX_HELD:
                    _look(text, piece, lists, judged)
                    for _, indices in waiting:
                        indices.discard(piece.choice)
                    open_.discard(piece.choice)
                else:
                    open_.add(piece.choice)
            waiting.append((item, open_))
            while waiting and not waiting[0][1]:
                yield waiting.popleft()[0]
        for index, text in texts.items():  # of a stream that ended without saying so
            _look(text, Piece(index, "", True), lists, judged)
        for item, _ in waiting:
            yield item
    finally:
        await items.aclose()


def _whole(text: str) -> bool:
    """Whether no letter at the end waits for its word to end."""
    form = normal(text[-MAX_HELD:], begun=True, open_end=True)
    return not form.letters or form.ends(len(form.letters))


def _look(text: _Text, piece: Piece, lists: Lists, judged: Callable[[Piece, str, list[Hit]], None]) -> None:
    """Judge what waits of a text, with what came before it."""
    if not text.held and not piece.ends:
        return
    whole = text.before + text.held
    hits = [hit for hit in lists.hits(whole, text.cut, not piece.ends) if hit.rule not in text.rules]
    text.rules |= {hit.rule for hit in hits}
    text.before, text.held = whole[-WINDOW:], ""
    text.cut = text.cut or len(whole) > WINDOW
    if hits:
        judged(piece, whole, hits)
