"""Chat, completions and the list of models in the document."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.described import Described
from gateway.openapi import responses
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
from gateway.v1.chat import chats
from gateway.v1.completions import SOURCES, completes
from gateway.v1.fields import CHAT, COMPLETIONS
from gateway.v1.messages import SYSTEM, TURNS

_INTEGER, _STRING = {"type": "integer"}, {"type": "string"}
_CONTENT = {
    "oneOf": [
        _STRING,
        {
            "type": "array",
            "minItems": 1,
            "items": record({"type": {"enum": ["text"]}, "text": _STRING}, ["type", "text"], closed=True),
        },
    ]
}


def paths(models: Sequence[Described], settings: Settings) -> Document:
    """The paths; those that no model can answer just now are left out."""
    found: Document = {}
    if talking := [model for model in models if chats(model)]:
        found["/v1/chat/completions"] = {"post": _chat(talking, settings)}
    if writing := [model for model in models if completes(model)]:
        found["/v1/completions"] = {"post": _completions(writing, settings)}
    found |= responses.paths(models, settings)
    listed = answer("models and aliases", {JSON: reference("Models")})
    found["/v1/models"] = {"get": operation("listModels", "every model, and what it can", listed, tag=TAG)}
    name = in_path("name", "a model's name, or an alias")
    one = answer("a model", {JSON: reference("Model")})
    found["/v1/models/{name}"] = {"get": operation("getModel", "one model", one, tag=TAG, parameters=[name])}
    return found


def _chat(models: Sequence[Described], settings: Settings) -> Document:
    asks, examples = [], {}
    for model in models:
        rules = Rules(CHAT.table, schemas(CHAT, {"messages": _messages(settings.system.get(model.name, "refuse"))}))
        asks.append(request(rules, model, settings, ["messages"], "chat with"))
        messages = model.example.get("messages", [{"role": "user", "content": "Hello"}])
        examples[model.name] = {"value": {"model": model.name, "messages": messages}}
    body = {JSON: {"schema": per_model(asks), "examples": examples}}
    answers = answer(
        "the assistant's turn; with stream, chunks of it",
        {JSON: reference("ChatCompletion"), EVENTS: EVENT},
    )
    return operation("createChatCompletion", "the next turn of a conversation", answers, tag=TAG, body=body)


def _completions(models: Sequence[Described], settings: Settings) -> Document:
    asks, examples = [], {}
    for model in models:
        source = next(name for name in SOURCES if model.has(name))
        rules = Rules(COMPLETIONS.table, schemas(COMPLETIONS, {}), SOURCES)
        required = ["prompt"] if source == "text" else []
        asks.append(request(rules, model, settings, required, "texts of"))
        examples[model.name] = {"value": {"model": model.name, "prompt": model.example.get(source, "")}}
    body = {JSON: {"schema": per_model(asks), "examples": examples}}
    answers = answer(
        "n texts of each prompt; with stream, chunks of them",
        {JSON: reference("Completion"), EVENTS: EVENT},
    )
    summary = "how prompts go on, or what texts say in short"
    return operation("createCompletion", summary, answers, tag=TAG, body=body)


def _messages(policy: str) -> Document:
    roles = TURNS if policy == "refuse" else (*TURNS, *SYSTEM)
    message = record({"role": {"enum": list(roles)}, "content": _CONTENT}, ["role", "content"])
    return {"type": "array", "minItems": 1, "maxItems": 1000, "items": message}


def components() -> Document:
    """Schemas of the answers."""
    usage = record(dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _INTEGER), closed=True)
    reason = {"enum": ["stop", "length"]}
    turn = record(
        {"role": {"enum": ["assistant"]}, "content": _STRING, "refusal": {"type": "null"}}, ["role", "content"]
    )
    logprobs = {"type": ["object", "null"]}
    chat = {"index": _INTEGER, "message": turn, "logprobs": logprobs, "finish_reason": reason}
    text = {"index": _INTEGER, "text": _STRING, "logprobs": {"type": "null"}, "finish_reason": reason}
    return {
        "Usage": usage,
        "ChatCompletion": _answer("chat.completion", chat),
        "Completion": _answer("text_completion", text),
        **responses.components(),
        "Model": _model(),
        "Models": record(
            {"object": {"enum": ["list"]}, "data": {"type": "array", "items": reference("Model")}}, ["data"]
        ),
    }


def _answer(kind: str, choice: Document) -> Document:
    fields = {
        "id": _STRING,
        "object": {"enum": [kind]},
        "created": _INTEGER,
        "model": _STRING,
        "system_fingerprint": {"type": ["string", "null"]},
        "choices": {"type": "array", "minItems": 1, "items": record(choice, list(choice))},
        "usage": reference("Usage"),
    }
    more = {"seed": _INTEGER, "digital_source_type": _STRING, "metadata": {"type": "object"}}
    return record({**fields, **more}, list(fields))


def _model() -> Document:
    strings = {"type": "array", "items": _STRING}
    fields = {
        "id": _STRING,
        "object": {"enum": ["model"]},
        "created": _INTEGER,
        "owned_by": _STRING,
        "medium": {"enum": ["image", "text", "audio"]},
        "kind": _STRING,
        "version": _STRING,
        "routes": strings,
        "params": strings,
        "content_types": strings,
    }
    return record({**fields, "alias_of": _STRING}, list(fields))
