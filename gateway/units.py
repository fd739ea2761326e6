"""What an answer is counted as: images, seconds of sound, tokens. The receipt says it, or the end of the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

TAIL = 8192  # bytes of a text's end that are kept, to find its usage in


class Meter:
    """Reads what passes of one answer of a medium (image, text, audio)."""

    def __init__(self, medium: str, receipt: Mapping[str, Any]) -> None:
        params = receipt.get("params")
        self._medium = medium
        self._params: Mapping[str, Any] = params if isinstance(params, dict) else {}
        self.beside: Callable[[bytes], None] | None = None  # is told the same
        self._tail = b""
        self._events = 0

    def feed(self, piece: bytes) -> None:
        """The next bytes of the answer."""
        if self.beside is not None:
            self.beside(piece)
        if self._medium == "text":
            self._events += piece.count(b"data: ")
            self._tail = (self._tail + piece)[-TAIL:]

    @property
    def amount(self) -> float:
        """Of the unit of the medium: for a text that was left before its end as many tokens as it had events."""
        if self._medium == "image":
            return float(self._params.get("n") or 1)
        if self._medium == "audio":
            return self.seconds
        return float(_completion_tokens(self._tail) or self._events)

    @property
    def seconds(self) -> float:
        """How long the sounds are, all together; 0 where the receipt does not say."""
        samples = float(self._params.get("samples") or 0)
        rate = float(self._params.get("resampled_from") or self._params.get("sample_rate") or 0)
        return samples / rate * float(self._params.get("n") or 1) if rate else 0.0


def _completion_tokens(tail: bytes) -> int | None:
    """Of the last `usage` in the end of a text's answer, whole or as events."""
    _, found, after = tail.rpartition(b'"usage":')
    if not found:
        return None
    try:
        usage, _ = json.JSONDecoder().raw_decode(after.decode(errors="replace").lstrip())
        return int(usage["completion_tokens"])
    except (ValueError, KeyError, TypeError):
        return None
