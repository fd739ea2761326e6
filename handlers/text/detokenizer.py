"""Tokens of one answer into text as it grows: whole characters, up to a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Detokenizer:
    """The text of the tokens so far. What may be the beginning of a stop string, or of a character, is held back.

    `lead` is what a tokenizer puts before the first word; it is left out.
    """

    def __init__(self, lead: str, stop: Sequence[str] = ()) -> None:
        self._lead, self._stop = lead, tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._bytes = bytearray()  # that are not decoded yet: without stop strings nobody needs to know before `take`
        self._ended = False
        self._sent = 0
        self._text = ""

    @property
    def text(self) -> str:
        """The whole text so far."""
        self._decode()
        return self._text

    def add(self, piece: bytes, last: bool = False) -> bool:
        """Append the bytes of a token; returns whether a stop string is reached. It is cut off with all behind it."""
        self._bytes += piece
        if last:
            self._ended = True
        if not self._stop:
            return False
        before = len(self._text)
        self._decode()
        found = [self._text.find(stop, max(0, before - self._longest + 1)) for stop in self._stop]
        at = min((place for place in found if place >= 0), default=None)
        if at is None:
            return False
        self._text = self._text[:at]
        return True

    def take(self, last: bool) -> str:
        """The text that can be sent since the last take."""
        self._decode()
        ready = len(self._text) - (0 if last else self._held())
        new = self._text[self._sent : ready]
        self._sent = max(self._sent, ready)
        return new

    def _decode(self) -> None:
        if not self._bytes and not self._ended:
            return
        new = self._decoder.decode(bytes(self._bytes), self._ended)
        self._bytes.clear()
        if new:
            self._text += new.removeprefix(self._lead)
            self._lead = ""

    def _held(self) -> int:
        """How many characters at the end may become a stop string."""
        for size in range(min(self._longest - 1, len(self._text)), 0, -1):
            if any(stop.startswith(self._text[-size:]) for stop in self._stop):
                return size
        return 0
