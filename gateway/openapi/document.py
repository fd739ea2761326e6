"""The whole document, of OpenAPI 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.described import Described
from gateway.openapi import history, inference, media, native, texts
from gateway.openapi.parts import JSON, Document, record
from gateway.settings import Settings

VERSION = "3.1.0"
_ABOUT = (
    "Generative models behind the API that OpenAI's clients know, and in their own words below /api. A field that "
    "changes nothing is taken; one that cannot be honoured is a 400 whose param names it; null is as good as left out."
)


def document(models: Sequence[Described], settings: Settings) -> Document:
    """The document of these models. What it says of a request is what the request is checked by."""
    error = record(
        {
            "message": {"type": "string"},
            "type": {"type": "string"},
            "param": {"type": ["string", "null"]},
            "code": {"type": ["string", "null"]},
        },
        ["message", "type", "param", "code"],
    )
    schemas: dict[str, Any] = {"Error": record({"error": error}, ["error"])}
    schemas |= texts.components() | media.components() | native.components() | inference.components()
    schemas |= history.components()
    failed = {"description": "what was found, what is wanted", "content": {JSON: {"schema": _ERROR}}}
    made: Document = {
        "openapi": VERSION,
        "info": {"title": "Atelier", "version": "1", "description": _ABOUT},
        "paths": {
            **texts.paths(models, settings),
            **media.paths(models, settings),
            **inference.paths(),
            **native.paths(models),
            **history.paths(),
        },
        "components": {"schemas": schemas, "responses": {"error": failed, **inference.responses()}},
    }
    if not settings.keyless:
        made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"key": []}]
    return made


_ERROR = {"$ref": "#/components/schemas/Error"}
