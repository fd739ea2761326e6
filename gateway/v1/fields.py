"""The neutral-value rule as tables: what every field of the routes for text is, and the check that goes by them.

A field is honoured; or taken at the values that change nothing, any other being a 400 that names it; or refused by
name. Parameters of the model's own are taken beside them, and whatever else there is is a 400 that lists what is
known. A field that is absent or null says nothing. /openapi.json is written from the same tables.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from gateway.described import Described
from gateway.v1.asked import Asked, Table, refuse, shown, sort_out
from gateway.v1.schemas import Schema, fits, wanted

MAX_SEED = 2**53 - 1  # the largest integer that JavaScript holds exactly
MAX_CHOICES = 128  # texts of one answer
MAX_PROMPTS = 64  # of one request for completions
MAX_STOP = 4
MAX_NAME = 512  # characters of what a caller says of himself


@dataclasses.dataclass(frozen=True)
class Field:
    """A field that is honoured: what it may be, what it means, and at which values a model that lacks it is asked.

    `param`: the model's parameter that it becomes. A model without that parameter takes the `neutral` values alone.
    """

    schema: Schema
    doc: str
    param: str | None = None
    neutral: tuple[Any, ...] = ()


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of one route."""

    honoured: Mapping[str, Field]
    neutral: Mapping[str, tuple[Any, ...]]
    refused: Mapping[str, str]

    @cached_property
    def table(self) -> Table:
        """Their names alone."""
        return Table(tuple(self.honoured), self.neutral, self.refused)


_STRING: Schema = {"type": "string", "maxLength": MAX_NAME}
_TEXT_PARTS = "a string, or a list of parts {type: text, text}, which are joined"
MESSAGES: Schema = {
    "type": "array",
    "minItems": 1,
    "maxItems": 1000,
    "items": {"type": "object"},
}
PROMPT: Schema = {"type": ["string", "array"], "minItems": 1, "maxItems": MAX_PROMPTS, "items": {"type": "string"}}
_SHARED: Mapping[str, Field] = {
    "model": Field({"type": "string", "minLength": 1}, "a model's name, or an alias of the operator's"),
    "temperature": Field(
        {"type": "number", "minimum": 0, "maximum": 2},
        "0 always takes the likeliest, 1 draws as the model believes; absent: the model's own default",
        "temperature",
        (1,),
    ),
    "top_p": Field(
        {"type": "number", "minimum": 0, "maximum": 1},
        "draw among the likeliest that hold this share together",
        "top_p",
        (1,),
    ),
    "n": Field(
        {"type": "integer", "minimum": 1, "maximum": MAX_CHOICES}, "how many texts: those of seed, seed + 1, ..."
    ),
    "seed": Field(
        {"type": "integer", "minimum": 0, "maximum": MAX_SEED},
        "what is drawn with; absent: drawn for you and returned",
        "seed",
    ),
    "stop": Field(
        {"type": ["string", "array"], "maxItems": MAX_STOP, "items": {"type": "string"}},
        "one text, or up to four, at which the answer ends; they are not part of it",
        "stop",
        ([],),
    ),
    "stream": Field({"type": "boolean"}, "send the text as it is written, as server-sent events"),
    "stream_options": Field(
        {
            "type": "object",
            "properties": {
                "include_usage": {"type": "boolean"},
                "include_obfuscation": {"type": "boolean", "enum": [False]},
            },
            "additionalProperties": False,
        },
        "`include_usage` adds a last chunk with the usage to a stream; other answers always have it",
    ),
    "max_tokens": Field(
        {"type": "integer", "minimum": 1}, "the most tokens to write; absent: the model's own default", "max_tokens"
    ),
    "user": Field(_STRING, "who asks, as the caller names him; it is taken and not kept"),
}
_SHARED_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
}
_NOTHING = "no model here does that"

CHAT = Fields(
    {
        **_SHARED,
        "messages": Field(MESSAGES, f"the conversation: role and content each; a content is {_TEXT_PARTS}"),
        "max_completion_tokens": Field({"type": "integer", "minimum": 1}, "the same as max_tokens", "max_tokens"),
        "logprobs": Field({"type": "boolean"}, "tell the log-probability of every token", "logprobs", (False,)),
        "safety_identifier": Field(_STRING, "as user"),
        "metadata": Field(
            {"type": "object", "maxProperties": 16, "additionalProperties": _STRING},
            "what the caller wants to remember of the request; it comes back in an answer that is no stream",
        ),
        "prompt_cache_key": Field(_STRING, "taken; answers do not depend on it"),
        "prompt_cache_options": Field({"type": "object"}, "taken; answers do not depend on it"),
        "prompt_cache_retention": Field(_STRING, "taken; answers do not depend on it"),
    },
    {
        **_SHARED_NEUTRAL,
        "top_logprobs": (0,),
        "response_format": ({"type": "text"},),
        "tools": ([],),
        "tool_choice": ("none", "auto"),
        "parallel_tool_calls": (True, False),
        "modalities": (["text"],),
        "store": (False,),
        "service_tier": ("auto", "default"),
        "reasoning_effort": ("none",),
        "verbosity": ("medium",),
    },
    {
        "functions": "no model here calls functions",
        "function_call": "no model here calls functions",
        "audio": "no model here answers with sound; POST /v1/audio/speech makes some",
        "prediction": _NOTHING,
        "web_search_options": "no model here searches",
        "moderation": _NOTHING,
    },
)
COMPLETIONS = Fields(
    {
        **_SHARED,
        "prompt": Field(PROMPT, "how the text begins, or what is summarized; a list: n texts for each"),
        "echo": Field({"type": "boolean"}, "repeat the prompt before each text"),
        "best_of": Field({"type": "integer", "minimum": 1, "maximum": MAX_CHOICES}, "n, or absent"),
    },
    {**_SHARED_NEUTRAL, "logprobs": (0, False)},
    {"suffix": "no model here writes what comes between two texts"},
)


def checked(fields: Fields, body: Mapping[str, Any], model: Described, ignored: Sequence[str]) -> Asked:
    """The fields of a request to a model, each of which is what its table says. Raises `ApiError` that names one."""
    asked = sort_out(body, fields.table, model, ignored)
    for name, value in asked.fields.items():
        field = fields.honoured[name]
        if not fits(value, field.schema):
            hint = "; leave it out to have one drawn" if name == "seed" else ""
            refuse(name, f"{name} is {shown(value)}, wanted {wanted(field.schema)}{hint}")
        if field.param and not model.has(field.param) and not any(value == item for item in field.neutral):
            refuse(name, f"{name} is {shown(value)}; model {model.name} has no such parameter: leave it out")
    return asked


def params_of(fields: Fields, asked: Asked, model: Described) -> dict[str, Any]:
    """What the fields become as the model's own parameters, and those that came under their own names."""
    params = dict(asked.own)
    given: dict[str, str] = {}
    for name, value in asked.fields.items():
        param = fields.honoured[name].param
        if param is None or not model.has(param) or value == []:
            continue
        if param in given and params[param] != value:
            refuse(name, f"{name} is {shown(value)} and {given[param]} is {shown(params[param])}; send one of them")
        params[param], given[param] = value, name
    return params
