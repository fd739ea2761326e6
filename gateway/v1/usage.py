"""What a text took, in whole tokens, as OpenAI's clients read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from gateway.errors import ApiError


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens that were read and written; sums add up."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.prompt + other.prompt, self.completion + other.completion)

    def document(self) -> dict[str, int]:
        """`{"prompt_tokens", "completion_tokens", "total_tokens"}`."""
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
        }


def read_usage(document: Mapping[str, Any]) -> Usage | None:
    """The usage that a model's answer says; None where it says none. Raises `ApiError` for what is no whole number."""
    found = document.get("usage")
    if found is None:
        return None
    values = [found.get(name) for name in ("prompt_tokens", "completion_tokens")] if isinstance(found, dict) else [None]
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise ApiError(502, "the model counted its tokens in a way that nobody reads; update gateway and server")
    return Usage(*values)
