"""Pieces of an OpenAPI 3.1 document: operations, bodies, answers, a model's parameters as schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.described import Described, Spec

Document = dict[str, Any]
JSON, EVENTS = "application/json", "text/event-stream"
FORM = "multipart/form-data"
_TYPES = {"integer": "integer", "number": "number", "boolean": "boolean", "string": "string"}


# What each event of a stream is.
EVENT: Document = {
    "type": "object",
    "description": "of each server-sent event; data is JSON",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["data"],
}


def nullable(schema: Mapping[str, Any]) -> Document:
    """The same, or null, which says nothing."""
    made = dict(schema)
    if "oneOf" in made:
        return {**made, "oneOf": [*made["oneOf"], {"type": "null"}]}
    if "type" in made:
        kinds = made["type"]
        made["type"] = list(dict.fromkeys([*([kinds] if isinstance(kinds, str) else kinds), "null"]))
    if "enum" in made and None not in made["enum"]:
        made["enum"] = [*made["enum"], None]
    return made


def parameter(spec: Spec) -> Document:
    """A parameter of a model as its document says."""
    made: Document = {"description": spec.doc}
    if spec.type in _TYPES:
        made["type"] = _TYPES[spec.type]
    elif spec.type == "strings":
        made |= {"type": ["string", "array"], "items": {"type": "string"}}
    elif spec.type == "messages":
        made |= {"type": "array", "minItems": 1, "items": {"type": "object"}}
    elif spec.type == "image":
        made |= {"type": "string", "contentMediaType": "image/*"}
    for name, value in (("minimum", spec.minimum), ("maximum", spec.maximum)):
        if value is not None:
            made[name] = int(value) if float(value).is_integer() else value
    if spec.choices:
        made["enum"] = list(spec.choices)
    if spec.default is not None:
        made["default"] = spec.default
    return made


def record(properties: Mapping[str, Any], required: Sequence[str] = (), *, closed: bool = False) -> Document:
    """An object; `closed`: of no other fields."""
    made: Document = {"type": "object", "properties": dict(properties)}
    if required:
        made["required"] = list(required)
    return {**made, "additionalProperties": False} if closed else made


def operation(
    name: str,
    summary: str,
    answers: Mapping[str, Any],
    *,
    tag: str,
    body: Document | None = None,
    parameters: Sequence[Document] = (),
    public: bool = False,
) -> Document:
    """One method of one path; `answers` by status, and errors as everywhere."""
    made: Document = {"operationId": name, "summary": summary, "tags": [tag]}
    if parameters:
        made["parameters"] = list(parameters)
    if body is not None:
        made["requestBody"] = {"required": True, "content": body}
    made["responses"] = {**answers, "default": {"$ref": "#/components/responses/error"}}
    return {**made, "security": []} if public else made


def answer(description: str, content: Mapping[str, Any], status: str = "200") -> Document:
    """`{status: response}` of content types with their schemas; None where a schema would say nothing."""
    media = {kind: {} if schema is None else {"schema": schema} for kind, schema in content.items()}
    return {status: {"description": description, "content": media}}


def reference(name: str) -> Document:
    """A schema of the components."""
    return {"$ref": f"#/components/schemas/{name}"}


def per_model(schemas: Sequence[Document]) -> Document:
    """What any of several models takes."""
    return schemas[0] if len(schemas) == 1 else {"oneOf": list(schemas)}


def names_of(model: Described, aliases: Mapping[str, str]) -> list[str]:
    """What a model may be called."""
    return [model.name, *sorted(alias for alias, name in aliases.items() if name == model.name)]


def in_path(name: str, description: str) -> Document:
    """A part of a path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
    }
