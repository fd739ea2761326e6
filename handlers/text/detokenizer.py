"""Tokens of one answer into text as it grows: whole characters, up to a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class Detokenizer:
    """The text of the tokens so far. What may be the beginning of a stop string, or of a character, is held back."""

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._begun = False
        self._sent = 0
        self.text = ""

    def add(self, piece: bytes, last: bool = False) -> bool:
        """Append the bytes of a token; returns whether a stop string is reached, which is cut off with all behind it."""
        new = self._decoder.decode(piece, last)
        if not self._begun and new:
            self._begun, new = True, new.removeprefix(" ")  # the tokenizer puts a space before the first word
        before = len(self.text)
        self.text += new
        found = [self.text.find(stop, max(0, before - self._longest + 1)) for stop in self._stop]
        at = min((place for place in found if place >= 0), default=None)
        if at is None:
            return False
        self.text = self.text[:at]
        return True

    def take(self, last: bool) -> str:
        """The text that can be sent since the last take."""
        ready = len(self.text) - (0 if last else self._held())
        new = self.text[self._sent : ready]
        self._sent = max(self._sent, ready)
        return new

    def _held(self) -> int:
        """How many characters at the end may become a stop string."""
        for size in range(min(self._longest - 1, len(self.text)), 0, -1):
            if any(stop.startswith(self.text[-size:]) for stop in self._stop):
                return size
        return 0
