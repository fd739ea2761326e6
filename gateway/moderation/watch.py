"""Texts of a stream, each piece looked at with what came before it: nothing that completes a refused word is sent.

An item waits until the words that it has letters of have ended, or so many characters came after it that none begins
there. Of a phrase of several words those before the last have been sent by then.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import NamedTuple, TypeVar

from gateway.moderation.lists import Hit, Lists
from gateway.moderation.normal import SPACE, Normal, normal

MAX_HELD = 64  # characters of one text that wait for the end of their word
Item = TypeVar("Item")


class Piece(NamedTuple):
    """What is new of a text; `choice` says of which, `ends` whether it was the last of it."""

    choice: int
    text: str
    ends: bool


Judged = Callable[[Piece, str, list[Hit]], None]


@dataclasses.dataclass
class _Text:
    """One text of a stream. Places are characters from its beginning."""

    window: str = ""  # its end
    came: int = 0  # so much of it has come
    settled: int = 0  # before this place no word is open
    rules: set[str] = dataclasses.field(default_factory=set)  # that it met before

    def look(self, piece: Piece, lists: Lists, judged: Judged) -> None:
        """Judge a piece of it."""
        whole = self.window + piece.text
        self.came += len(piece.text)
        form = normal(whole, begun=self.came > len(whole), open_end=not piece.ends)
        hits = [hit for hit in lists.hits_in(form) if hit.rule not in self.rules]
        self.rules |= {hit.rule for hit in hits}
        self.settled = max(self.came - MAX_HELD, self.came - len(whole) + _open_word(form, len(whole)))
        self.window = whole[-lists.window :]
        if hits:
            judged(piece, whole, hits)


async def watched(
    items: AsyncGenerator[Item, None], pieces: Callable[[Item], Iterable[Piece]], lists: Lists, judged: Judged
) -> AsyncGenerator[Item, None]:
    """The items in their order, each once all its pieces were judged. `judged` raises where one is refused."""
    texts: dict[int, _Text] = {}
    waiting: deque[tuple[Item, dict[int, int]]] = deque()  # with the places up to which their texts must be settled
    try:
        async for item in items:
            ends = {}
            for piece in pieces(item):
                text = texts.setdefault(piece.choice, _Text())
                text.look(piece, lists, judged)
                ends[piece.choice] = text.came
            waiting.append((item, ends))
            while waiting and all(texts[choice].settled >= end for choice, end in waiting[0][1].items()):
                yield waiting.popleft()[0]
        for choice, text in texts.items():  # of a stream that ended without saying so
            text.look(Piece(choice, "", True), lists, judged)
        for item, _ in waiting:
            yield item
    finally:
        await items.aclose()


def _open_word(form: Normal, size: int) -> int:
    """The character at which a word begins that has not ended; the size of the text where there is none."""
    at = len(form.letters)
    if not at or form.gaps[at] >= SPACE or (not form.gaps[at] and form.ends(at)):
        return size
    at -= 1
    while at and form.gaps[at] < SPACE:
        at -= 1
    return form.origin[at]
