"""Answers of text as JSON objects and server-sent events, with the field names of OpenAI's API."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from handlers.media.mark import SOURCE_TYPE

DONE = b"data: [DONE]\n\n"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One text of an answer, or what is new of it."""

    index: int
    text: str
    finish_reason: str | None  # "stop": its end or a stop string, "length": max_tokens; None: it goes on
    logprobs: Sequence[tuple[str, float]] | None = None  # of each token: its text and log-probability


class Completions:
    """Writes one model's answers as documents: completions, or turns of a chat."""

    def __init__(self, name: str, chat: bool) -> None:
        self._name, self._chat = name, chat

    def event(self, choice: Choice) -> bytes:
        """One event of a stream."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return _event({"object": kind, "model": self._name, "choices": [self._choice(choice, "delta")]})

    def whole(self, choices: Sequence[Choice], prompt_tokens: int, completion_tokens: int, seed: int) -> bytes:
        """The object of an answer that is no stream."""
        return _json(self._document(choices, "message", prompt_tokens, completion_tokens, seed))

    def last(self, choices: Sequence[Choice], prompt_tokens: int, completion_tokens: int, seed: int) -> bytes:
        """The end of a stream: why each text ended, the usage, and [DONE]."""
        return _event(self._document(choices, "delta", prompt_tokens, completion_tokens, seed)) + DONE

    def _document(
        self, choices: Sequence[Choice], part: str, prompt_tokens: int, completion_tokens: int, seed: int
    ) -> dict[str, Any]:
        chat = "chat.completion" if part == "message" else "chat.completion.chunk"
        return {
            "object": chat if self._chat else "text_completion",
            "model": self._name,
            "choices": [self._choice(choice, part) for choice in choices],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": completion_tokens,
                "total_tokens": prompt_tokens + completion_tokens,
            },
            "seed": seed,
            "digital_source_type": SOURCE_TYPE,
        }

    def _choice(self, choice: Choice, part: str) -> dict[str, Any]:
        found: dict[str, Any] = {"index": choice.index}
        if not self._chat:
            found["text"] = choice.text
        elif part == "message":
            found["message"] = {"role": "assistant", "content": choice.text}
        else:
            found["delta"] = {"content": choice.text} if choice.text else {}
        found["finish_reason"] = choice.finish_reason
        if choice.logprobs is not None:
            tokens = [text for text, _ in choice.logprobs]
            values = [round(value, 6) for _, value in choice.logprobs]
            if self._chat:
                content = [{"token": t, "logprob": v} for t, v in zip(tokens, values, strict=True)]
                found["logprobs"] = {"content": content}
            else:
                found["logprobs"] = {"tokens": tokens, "token_logprobs": values}
        return found


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + _json(value) + b"\n\n"
