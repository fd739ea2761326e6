"""What a field takes in words, for the page: of a JSON schema as `parts` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_KINDS = {"integer": "whole number", "string": "text", "boolean": "true or false", "array": "list", "object": "object"}
_RANGES = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " characters"),
    ("minItems", "maxItems", " items"),
    ("minProperties", "maxProperties", " fields"),
)
_SAID = {"description", "title", "type", "enum", "oneOf", "default", "items", "properties", "additionalProperties"}
_SAID.add("required")
_SAID |= {bound for low, high, _ in _RANGES for bound in (low, high)}


def takes(schema: Mapping[str, Any]) -> str:
    """`whole number, 1 to 16, default 1`. That every field takes null, too, is not said; what has no words is JSON."""
    return ", ".join(_parts(schema)) or "anything"


def _parts(schema: Mapping[str, Any]) -> Iterator[str]:
    if "enum" in schema:
        yield ", ".join(_json(value) for value in schema["enum"] if value is not None) or "nothing"
    elif "oneOf" in schema:
        yield " or ".join(takes(one) for one in schema["oneOf"] if one != {"type": "null"})
    elif "type" in schema:
        yield _kind(schema)
    for low, high, unit in _RANGES:
        if low in schema and high in schema:
            yield f"{schema[low]} to {schema[high]}{unit}"
        elif low in schema:
            yield f"at least {schema[low]}{unit}"
        elif high in schema:
            yield f"at most {schema[high]}{unit}"
    yield from (f"{key} {_json(value)}" for key, value in schema.items() if key not in _SAID)
    if "default" in schema:
        yield f"default {_json(schema['default'])}"


def _kind(schema: Mapping[str, Any]) -> str:
    kinds = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    words = [_KINDS.get(kind, kind) for kind in kinds if kind != "null"] or ["nothing"]
    if "items" in schema:
        each = takes(schema["items"])
        words[-1] += f" of ({each})" if " " in each else f" of {each}"
    if "properties" in schema:
        needed = schema.get("required", ())
        marked = {f"{name} (required)" if name in needed else name: one for name, one in schema["properties"].items()}
        words[-1] += f" of ({'; '.join(f'{name}: {takes(one)}' for name, one in marked.items())})"
    return " or ".join(words)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
