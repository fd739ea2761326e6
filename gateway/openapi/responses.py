"""`/v1/responses` in the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.described import Described
from gateway.openapi.parts import (
    EVENT,
    EVENTS,
    JSON,
    Document,
    answer,
    in_path,
    operation,
    per_model,
    record,
    reference,
)
from gateway.openapi.requests import Rules, request
from gateway.openapi.text_fields import TAG, schemas
from gateway.settings import Settings
from gateway.v1.messages import SYSTEM, TURNS
from gateway.v1.response_fields import MAX_ITEMS, PARTS, RESPONSES
from gateway.v1.responses import responds

HIDDEN = ("messages", "prompt", "text", "max_tokens")
_INTEGER, _STRING = {"type": "integer"}, {"type": "string"}
_NULL_STRING = {"type": ["string", "null"]}


def paths(models: Sequence[Described], settings: Settings) -> Document:
    """The paths; that which no model can answer just now is left out."""
    found: Document = {}
    if fitting := [model for model in models if responds(model)]:
        found["/v1/responses"] = {"post": _create(fitting, settings)}
    one = in_path("id", "of a response")
    none = {"404": {"$ref": "#/components/responses/error"}}
    found["/v1/responses/{id}"] = {
        method: operation(name, "always a 404: none is kept once it is sent", none, tag=TAG, parameters=[one])
        for method, name in (("get", "getResponse"), ("delete", "deleteResponse"))
    }
    return found


def _create(models: Sequence[Described], settings: Settings) -> Document:
    asks, examples = [], {}
    for model in models:
        policy = settings.system.get(model.name, "refuse")
        finer = {"input": _input(policy, model)}
        if policy == "refuse":
            finer["instructions"] = {"enum": [""]}
        rules = Rules(RESPONSES.table, schemas(RESPONSES, finer), HIDDEN)
        asks.append(request(rules, model, settings, ["input"], "a response of"))
        said = next((model.example[name] for name in ("prompt", "text") if name in model.example), "Hello")
        examples[model.name] = {"value": {"model": model.name, "input": said}}
    body = {JSON: {"schema": per_model(asks), "examples": examples}}
    kinds: Mapping[str, Any] = {JSON: reference("Response"), EVENTS: EVENT}
    answers = answer("the response; with stream, its events, numbered", kinds)
    return operation("createResponse", "the next turn of a conversation, or a text", answers, tag=TAG, body=body)


def _input(policy: str, model: Described) -> Document:
    roles = ("user",) if not model.has("messages") else TURNS
    part = record({"type": {"enum": list(PARTS)}, "text": _STRING}, ["type", "text"])
    content = {"oneOf": [_STRING, {"type": "array", "minItems": 1, "items": part}]}
    message = record(
        {
            "type": {"enum": ["message", None]},
            "role": {"enum": [*roles, *(() if policy == "refuse" else SYSTEM)]},
            "content": content,
        },
        ["role", "content"],
    )
    return {"oneOf": [_STRING, {"type": "array", "minItems": 1, "maxItems": MAX_ITEMS, "items": message}]}


def components() -> Document:
    """The schema of the answer."""
    part = record({"type": {"enum": ["output_text"]}, "text": _STRING}, ["type", "text"])
    status = {"enum": ["completed", "incomplete"]}
    message = {
        "id": _STRING,
        "type": {"enum": ["message"]},
        "status": status,
        "role": {"enum": ["assistant"]},
        "content": {"type": "array", "minItems": 1, "items": part},
    }
    usage = dict.fromkeys(("input_tokens", "output_tokens", "total_tokens"), _INTEGER)
    fields = {
        "id": _STRING,
        "object": {"enum": ["response"]},
        "created_at": _INTEGER,
        "model": _STRING,
        "status": status,
        "store": {"enum": [False]},
        "output": {"type": "array", "minItems": 1, "items": record(message, list(message))},
        "usage": record(usage, list(usage)),
    }
    more = {"instructions": _NULL_STRING, "system_fingerprint": _NULL_STRING, "seed": _INTEGER}
    return {"Response": record({**fields, **more}, list(fields))}
