"""Texts in the shapes of OpenAI's API: turns of a chat and completions, whole and as chunks of a stream."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from gateway.v1.events import DONE, event
from gateway.v1.usage import Usage
from gateway.v1.written import Read, Text


class Shape(Protocol):
    """How a route writes its texts."""

    prefix: str  # of an answer's id
    whole: str  # the `object` of an answer
    chunk: str  # and of a chunk

    def choice(self, text: Text) -> dict[str, Any]:
        """A text of an answer that is no stream."""

    def pieces(self, text: Text, first: bool) -> list[dict[str, Any]]:
        """What is new of a text as choices of chunks; `first`: nothing of it was sent before."""


class Chat:
    """Turns of the assistant."""

    prefix, whole, chunk = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def choice(self, text: Text) -> dict[str, Any]:
        """`{"index", "message", "logprobs", "finish_reason"}`."""
        message = {"role": "assistant", "content": text.text, "refusal": None}
        return {
            "index": text.index,
            "message": message,
            "logprobs": _chat_logprobs(text.logprobs),
            "finish_reason": text.finish_reason,
        }

    def pieces(self, text: Text, first: bool) -> list[dict[str, Any]]:
        """The role alone, then what was written, then why it ended."""
        found = []
        if first:
            found.append(_delta(text.index, {"role": "assistant", "content": "", "refusal": None}))
        if text.text or text.logprobs:
            found.append(_delta(text.index, {"content": text.text}, logprobs=_chat_logprobs(text.logprobs)))
        if text.finish_reason is not None:
            found.append(_delta(text.index, {}, text.finish_reason))
        return found


class Completion:
    """Texts that go on from prompts; `before` is what comes before each of them, by its index."""

    prefix, whole, chunk = "cmpl", "text_completion", "text_completion"

    def __init__(self, before: Sequence[str]) -> None:
        self._before = before

    def choice(self, text: Text) -> dict[str, Any]:
        """`{"index", "text", "logprobs", "finish_reason"}`."""
        return _written(text, self._before[text.index] + text.text, text.finish_reason)

    def pieces(self, text: Text, first: bool) -> list[dict[str, Any]]:
        """What was written, then why it ended."""
        found, said = [], (self._before[text.index] if first else "") + text.text
        if said:
            found.append(_written(text, said, None))
        if text.finish_reason is not None:
            found.append(_written(text, "", text.finish_reason))
        return found


def head(shape: Shape, kind: str, model: str, fingerprint: str | None) -> dict[str, Any]:
    """What every document of an answer begins with. `fingerprint`: of what computes it, by the receipt."""
    return {
        "id": f"{shape.prefix}-{secrets.token_hex(16)}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": fingerprint,
    }


def document(shape: Shape, head: Mapping[str, Any], found: Sequence[Read]) -> dict[str, Any]:
    """A whole answer."""
    texts = sorted((text for one in found for text in one.texts), key=lambda text: text.index)
    usage = sum((one.usage or Usage() for one in found), Usage())
    return {
        **head,
        "choices": [shape.choice(text) for text in texts],
        "usage": usage.document(),
        **found[0].more,
    }


async def chunks(
    shape: Shape, head: Mapping[str, Any], found: AsyncGenerator[Read, None], include_usage: bool
) -> AsyncGenerator[bytes, None]:
    """A stream: chunks of one choice each, the usage in a last one of its own where it is wanted, then [DONE]."""
    begun: set[int] = set()
    usage = Usage()
    end = {"usage": None} if include_usage else {}
    async for one in found:
        usage += one.usage or Usage()
        piece = b""
        for text in one.texts:
            for choice in shape.pieces(text, text.index not in begun):
                more = one.more if choice["finish_reason"] is not None else {}
                piece += event({**head, "choices": [choice], **end, **more})
            begun.add(text.index)
        if piece:
            yield piece
    last = event({**head, "choices": [], "usage": usage.document()}) if include_usage else b""
    yield last + DONE


def _delta(index: int, delta: dict[str, Any], reason: str | None = None, logprobs: Any = None) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}


def _written(text: Text, said: str, reason: str | None) -> dict[str, Any]:
    return {"index": text.index, "text": said, "logprobs": None, "finish_reason": reason}


def _chat_logprobs(found: Any) -> Any:
    """Log-probabilities as the client's types want them: with the bytes of each token, and no others beside it."""
    if found is None:
        return None
    tokens = [
        {"token": one["token"], "logprob": one["logprob"], "bytes": list(one["token"].encode()), "top_logprobs": []}
        for one in found["content"]
    ]
    return {"content": tokens, "refusal": None}
