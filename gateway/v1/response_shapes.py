"""Answers of `/v1/responses`: the document, and the events of a stream in their order, each with its number."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from gateway.described import Described
from gateway.errors import ApiError
from gateway.v1.asked import Asked
from gateway.v1.usage import Usage
from gateway.v1.written import Read

ECHOED = ("instructions", "max_output_tokens", "user", "safety_identifier", "prompt_cache_key")
INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}  # why a text ended early


class Writing:
    """One response, while it is written and when it is whole."""

    def __init__(self, model: Described, asked: Asked, fingerprint: str | None) -> None:
        self.text, self.reason, self.usage = "", "stop", Usage()
        self._number = 0
        self._id, self._item = f"resp_{secrets.token_hex(16)}", f"msg_{secrets.token_hex(16)}"
        self._more: dict[str, Any] = {"system_fingerprint": fingerprint}
        self._head = {
            "id": self._id,
            "object": "response",
            "created_at": int(time.time()),
            "model": model.name,
            **{name: asked.fields.get(name) for name in ECHOED},
            **{name: _value(asked, model, name) for name in ("temperature", "top_p")},
            "metadata": asked.fields.get("metadata", {}),
            "background": False,
            "error": None,
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "service_tier": "default",
            "store": False,
            "text": {"format": {"type": "text"}, "verbosity": "medium"},
            "tool_choice": "none",
            "tools": [],
            "top_logprobs": 0,
            "truncation": "disabled",
        }

    def add(self, found: Read) -> str:
        """What one document of the model says; returns the new words."""
        new = "".join(text.text for text in found.texts)
        self.text += new
        self.usage += found.usage or Usage()
        self._more |= found.more
        for text in found.texts:
            self.reason = text.finish_reason or self.reason
        return new

    def document(self) -> dict[str, Any]:
        """The whole response."""
        why = INCOMPLETE.get(self.reason)
        return {
            **self._head,
            "status": "incomplete" if why else "completed",
            "completed_at": None if why else int(time.time()),
            "incomplete_details": {"reason": why} if why else None,
            "output": [self._message()],
            "usage": _usage(self.usage),
            **self._more,
        }

    async def events(self, found: AsyncGenerator[Read, None]) -> AsyncGenerator[bytes, None]:
        """The stream. What is refused before the first word has a status of its own."""
        item, place = {"output_index": 0}, {"item_id": self._item, "output_index": 0, "content_index": 0}
        begun = False
        async for one in found:
            piece = b"" if begun else self._begin(item, place)
            begun = True
            if new := self.add(one):
                piece += self._event("output_text.delta", {**place, "delta": new, "logprobs": []})
            if piece:
                yield piece
        yield (b"" if begun else self._begin(item, place)) + self._end(item, place)

    def broken(self, error: ApiError) -> bytes:
        """The last event of a stream that broke: flat as this API has it, and as `error`, which clients raise."""
        flat = {"code": error.code, "message": error.message, "param": error.param}
        return self._named("error", {**flat, **error.document()})

    def _begin(self, item: dict[str, Any], place: dict[str, Any]) -> bytes:
        start = {
            **self._head,
            "status": "in_progress",
            "completed_at": None,
            "incomplete_details": None,
            "output": [],
            "usage": None,
        }
        empty = {**self._message(), "status": "in_progress", "content": []}
        return b"".join(
            (
                self._event("created", {"response": start}),
                self._event("in_progress", {"response": start}),
                self._event("output_item.added", {**item, "item": empty}),
                self._event("content_part.added", {**place, "part": _part("")}),
            )
        )

    def _end(self, item: dict[str, Any], place: dict[str, Any]) -> bytes:
        whole = self.document()
        return b"".join(
            (
                self._event("output_text.done", {**place, "text": self.text, "logprobs": []}),
                self._event("content_part.done", {**place, "part": _part(self.text)}),
                self._event("output_item.done", {**item, "item": self._message()}),
                self._event(whole["status"], {"response": whole}),
            )
        )

    def _message(self) -> dict[str, Any]:
        status = "incomplete" if self.reason in INCOMPLETE else "completed"
        message = {"id": self._item, "type": "message", "status": status, "role": "assistant"}
        return {**message, "content": [_part(self.text)]}

    def _event(self, name: str, fields: Mapping[str, Any]) -> bytes:
        return self._named(f"response.{name}", fields)

    def _named(self, name: str, fields: Mapping[str, Any]) -> bytes:
        document = {"type": name, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {name}\ndata: {json.dumps(document, ensure_ascii=False, separators=(',', ':'))}\n\n".encode()


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt + usage.completion,
    }


def _value(asked: Asked, model: Described, name: str) -> Any:
    """What a field is, or else the model's own default for it."""
    spec = model.params.get(name)
    return asked.fields.get(name, spec.default if spec is not None else None)
