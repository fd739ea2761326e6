"""The fields of `/v1/responses`, by the neutral-value rule, and what `input` says as turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.described import Described
from gateway.v1.asked import Asked, refuse, shown
from gateway.v1.fields import CHAT, Field, Fields
from gateway.v1.messages import NEUTRAL, Policy, remedy, turns

MAX_ITEMS = 1000  # of `input`
PARTS = ("input_text", "output_text", "text")  # types of parts that are words
_SAYS_NOTHING = ("type", "role", "content", "id", "status", "phase")  # of an item, beside what NEUTRAL has
_SAME = ("model", "temperature", "top_p", "stream", "metadata", "user", "safety_identifier")
_CACHE = ("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")
_NOTHING = "no model here does that"
_NOT_KEPT = "no response is kept to go on with: send the whole conversation in input"
_CHOICES = "a response is one text: POST /v1/chat/completions and /v1/completions make several"

RESPONSES = Fields(
    {
        **{name: CHAT.honoured[name] for name in (*_SAME, *_CACHE)},
        "input": Field(
            {"type": ["string", "array"], "minItems": 1, "maxItems": MAX_ITEMS, "items": {"type": "object"}},
            "a text of the user's, or the conversation: messages with role and content, words alone",
        ),
        "instructions": Field({"type": "string"}, "the same as a first message of the role system"),
        "max_output_tokens": Field(
            {"type": "integer", "minimum": 1}, "the most tokens to write; absent: the model's own default", "max_tokens"
        ),
        "stream_options": Field(
            {
                "type": "object",
                "properties": {"include_obfuscation": {"type": "boolean", "enum": [False]}},
                "additionalProperties": False,
            },
            "a stream always ends with the usage",
        ),
        "text": Field(
            {
                "type": "object",
                "properties": {
                    "format": {
                        "type": "object",
                        "properties": {"type": {"enum": ["text"]}},
                        "additionalProperties": False,
                    },
                    "verbosity": {"enum": ["medium"]},
                },
                "additionalProperties": False,
            },
            "plain text alone: no model here is held to a schema",
        ),
    },
    {
        "store": (False, True),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "parallel_tool_calls": (True, False),
        "background": (False,),
        "include": ([],),
        "top_logprobs": (0,),
        "truncation": ("disabled",),
        "service_tier": ("auto", "default"),
        "reasoning": ({}, {"effort": "none"}),
    },
    {
        "previous_response_id": _NOT_KEPT,
        "conversation": _NOT_KEPT,
        "prompt": "no templates are kept here: send the text in input",
        "max_tool_calls": "no model here calls tools",
        "image": "POST /v1/images/generations makes images",
        "moderation": _NOTHING,
        "access_programs": _NOTHING,
        "background_options": "POST /api/jobs/NAME begins work that goes on by itself",
        "context_management": _NOTHING,
        # What models call their own parameters, which have another name or no place here.
        "messages": "it is called input here",
        "max_tokens": "it is called max_output_tokens here",
        "n": _CHOICES,
        "logprobs": "POST /v1/chat/completions tells them",
    },
)


def said(asked: Asked, model: Described, policy: Policy) -> dict[str, Any]:
    """`input` and `instructions` as the model's own parameter. Raises `ApiError` that names the place."""
    given, told = asked.fields.get("input"), asked.fields.get("instructions")
    if given is None:
        refuse("input", "input is missing: a text, or a list of messages with role and content")
    if told and policy == "refuse":
        refuse("instructions", f"instructions are given; {remedy(model)}")
    messages = [{"role": "user", "content": given}] if isinstance(given, str) else _messages(given)
    found = turns(messages, model, policy, "input", [told] if told else [])
    if model.has("messages"):
        return {"messages": found}
    if len(found) > 1:
        refuse("input", f"input has {len(found)} turns; model {model.name} reads one text: send that alone")
    return {"prompt" if model.has("prompt") else "text": found[0]["content"]}


def _messages(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [_message(item, f"input[{at}]") for at, item in enumerate(items)]


def _message(item: Mapping[str, Any], place: str) -> dict[str, Any]:
    """An item as a message of a chat, whose role is checked with the others."""
    kind = item.get("type")
    if kind not in (None, "message"):
        refuse(f"{place}.type", f"{place} is of type {shown(kind)}, wanted message: words alone are read")
    for name, value in item.items():
        if name in _SAYS_NOTHING or value is None or value in NEUTRAL.get(name, ()):
            continue
        refuse(f"{place}.{name[:60]}", f"{place} has {name[:60]}, which is not read here: role and content alone are")
    content = item.get("content")
    if isinstance(content, list) and content:
        content = "".join(_words(part, f"{place}.content[{at}]") for at, part in enumerate(content))
    if not isinstance(content, str):
        refuse(f"{place}.content", f"{place}.content is {shown(content)}, wanted a string or a list of parts with text")
    return {"role": item.get("role"), "content": content}


def _words(part: Any, place: str) -> str:
    wanted = 'wanted {"type": "input_text", "text": "..."}: words alone are read'
    if not isinstance(part, dict):
        refuse(place, f"{place} is {shown(part)}, {wanted}")
    kind, text = part.get("type"), part.get("text")
    if kind not in PARTS:
        refuse(f"{place}.type", f"{place} is of type {shown(kind)}, {wanted}")
    if not isinstance(text, str):
        refuse(f"{place}.text", f"{place}.text is {shown(text)}, {wanted}")
    for name, value in part.items():
        if name not in ("type", "text") and value not in (None, []):  # annotations and logprobs of an answer sent back
            refuse(f"{place}.{name[:60]}", f"{place} has {name[:60]}, {wanted}")
    return text
