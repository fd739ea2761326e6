"""Pairs from conversations in the shapes of OpenAI (`messages`, `role`, `content`) and ShareGPT (`conversations`,
`from`, `value`): every turn of the assistant that follows another one is a target, and the turns before it its source.

Instructions (system, developer) are not read, because no request can give any; what a tool says is a turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from training.data import Unusable

KEYS = ("messages", "conversations", "conversation", "dialog", "dialogue", "turns", "items")
_CERTAIN = ("messages", "conversations")
_ROLES = {
    **dict.fromkeys(("user", "human", "prompter", "customer"), "user"),
    **dict.fromkeys(("assistant", "gpt", "bot", "chatgpt", "model", "ai", "bing", "bard", "chatbot"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "function", "observation", "ipython", "function_response"), "tool"),
    "function_call": "call",  # of the assistant, to a tool
}
_TEXTS = ("text", "input_text", "output_text")  # types of a part that holds a text


def turns_of(record: object) -> list[Any] | None:
    """The turns of a record that is a conversation or holds one, or None for another record."""
    for key in KEYS:
        turns = record.get(key) if isinstance(record, Mapping) else record
        if not isinstance(turns, list) or not turns or not all(isinstance(turn, Mapping) for turn in turns):
            continue
        # A name that says nothing of a conversation may hold a list of other objects.
        if (isinstance(record, Mapping) and key in _CERTAIN) or {"role", "from"} & turns[0].keys():
            return turns
    return None


def pairs(turns: list[Any]) -> Iterator[tuple[list[str], str]]:
    """The texts of source and target of every answer. Raises `Unusable` for a turn that cannot be read."""
    before: list[str] = []
    for at, turn in enumerate(turns, 1):
        role = _role(turn, at)
        if role in ("system", "call"):
            continue
        text = _text(turn, at)
        if not text.strip():
            if role == "user":
                raise Unusable(f"turn {at}, of {_named(turn)}, holds no text")
            continue  # an answer that only calls a tool, and a tool that says nothing
        if role == "assistant" and before and turn.get("weight", 1) != 0:
            yield list(before), text
        before.append(text)


def _named(turn: Mapping[str, Any]) -> str:
    return repr(turn.get("role", turn.get("from")))


def _role(turn: Mapping[str, Any], at: int) -> str:
    said = turn.get("role", turn.get("from"))
    if said is None:
        raise Unusable(f"turn {at} has no 'role' (or 'from')")
    role = _ROLES.get(said.strip().lower()) if isinstance(said, str) else None
    if role is None:
        raise Unusable(f"turn {at} is of {said!r}, wanted a role such as user, assistant, system, tool, human, gpt")
    return role


def _text(turn: Mapping[str, Any], at: int) -> str:
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") in _TEXTS]
        return "\n".join(part for part in parts if isinstance(part, str))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise Unusable(f"turn {at} holds no text in 'content' (or 'value')")
    return content
