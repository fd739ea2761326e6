"""The categories of moderation, as OpenAI's clients know them, and what is done about a text of one."""

from __future__ import annotations

from typing import Literal

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
Action = Literal["refuse", "log"]
Stage = Literal["prompt", "result"]
