"""`/v1/moderations` in the document."""

from __future__ import annotations

from gateway.moderation.categories import CATEGORIES
from gateway.openapi.parts import JSON, Document, answer, nullable, operation, record, reference
from gateway.settings import Settings
from gateway.v1.moderations import MAX_TEXTS, MODELS

_STRING = {"type": "string"}


def paths(settings: Settings) -> Document:
    """The path; an example where moderation is on."""
    on = settings.moderation is not None
    picture = record({"url": {"type": "string", "pattern": "^data:image/"}}, ["url"])
    text = record({"type": {"enum": ["text"]}, "text": _STRING}, ["type", "text"])
    image = record({"type": {"enum": ["image_url"]}, "image_url": picture}, ["type", "image_url"])
    many = {"type": "array", "minItems": 1, "maxItems": MAX_TEXTS}
    parts = {**many, "items": {"oneOf": [text, image]}}
    given = {"oneOf": [_STRING, {**many, "items": _STRING}, parts], "description": "what is judged"}
    fields = {"input": given, "model": nullable({"enum": list(MODELS), "description": "any of them is this server's"})}
    fields |= {name: {"description": "the operator has it overlooked"} for name in settings.ignore_fields}
    content: Document = {"schema": record(fields, ["input"], closed=True)}
    if on:
        content["examples"] = {"text": {"value": {"input": "a harbour at dawn"}}}
    summary = "what this server's rules say of texts and images" + ("" if on else "; it has none: 404")
    answers = answer("a result of each text; of parts, one", {JSON: reference("Moderation")})
    made = operation("createModeration", summary, answers, tag="moderation", body={JSON: content})
    return {"/v1/moderations": {"post": made}}


def components() -> Document:
    """The schema of the answer."""
    types = {"type": "array", "items": {"enum": ["text", "image"]}}
    flag = {"type": "boolean"}
    score = {"type": "number", "minimum": 0, "maximum": 1}
    result = {
        "flagged": {"type": "boolean"},
        "categories": record(dict.fromkeys(CATEGORIES, flag), CATEGORIES),
        "category_scores": record(dict.fromkeys(CATEGORIES, score), CATEGORIES),
        "category_applied_input_types": record(dict.fromkeys(CATEGORIES, types), CATEGORIES),
    }
    results = {"type": "array", "minItems": 1, "items": record(result, list(result))}
    fields = {"id": _STRING, "model": _STRING, "results": results}
    return {"Moderation": record(fields, list(fields))}
