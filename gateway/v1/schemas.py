"""A small part of JSON Schema: what a field may be, for the document that says it and for the check that holds to it.

`type` (a name or a list of them), `enum`, `minimum`, `maximum`, `minLength`, `maxLength`, `minItems`, `maxItems`,
`items`, `properties`, `additionalProperties`, `maxProperties`; everything else in a schema is for readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
_WORDS = {
    "string": "a string",
    "boolean": "true or false",
    "integer": "an integer",
    "number": "a number",
    "array": "a list",
    "object": "an object",
}


def fits(value: Any, schema: Schema) -> bool:
    """Whether a value is what a schema wants."""
    types = schema.get("type")
    if types is not None and not any(_is(value, kind) for kind in ([types] if isinstance(types, str) else types)):
        return False
    if "enum" in schema and not any(same(value, item) for item in schema["enum"]):
        return False
    return _in_bounds(value, schema)


def same(value: Any, other: Any) -> bool:
    """Whether two JSON values are one: numbers by what they are (1 and 1.0), and true is no 1."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, (int, float)) and isinstance(other, (int, float)):
        return value == other
    return type(value) is type(other) and bool(value == other)


def wanted(schema: Schema) -> str:
    """What a schema wants, in words for a message."""
    if "enum" in schema:
        return "one of " + ", ".join(str(item) for item in schema["enum"])
    types = schema.get("type", "object")
    text = " or ".join(_WORDS[kind] for kind in ([types] if isinstance(types, str) else types))
    if "minimum" in schema:
        text += (
            f" from {schema['minimum']} to {schema['maximum']}"
            if "maximum" in schema
            else f" over {schema['minimum'] - 1}"
        )
    if "items" in schema:
        text += f" of at most {schema['maxItems']} items, each {wanted(schema['items'])}"
    if "maxProperties" in schema:
        text += f" of at most {schema['maxProperties']} entries, each {wanted(schema['additionalProperties'])}"
    elif "properties" in schema:
        text += " of " + ", ".join(f"{name} ({wanted(inner)})" for name, inner in schema["properties"].items())
    return text + (f" of at most {schema['maxLength']} characters" if "maxLength" in schema else "")


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return (isinstance(value, int) and not isinstance(value, bool)) or (
            isinstance(value, float) and value.is_integer()
        )
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, {"string": str, "boolean": bool, "array": list, "object": dict}[kind])


def _in_bounds(value: Any, schema: Schema) -> bool:
    if isinstance(value, str):
        return bool(schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)))
    if isinstance(value, list):
        right = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return right and all(fits(item, schema.get("items", {})) for item in value)
    if isinstance(value, dict):
        return _object(value, schema)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))
    return True


def _object(value: Mapping[str, Any], schema: Schema) -> bool:
    if len(value) > schema.get("maxProperties", len(value)):
        return False
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, inner in value.items():
        if name in known:
            right = fits(inner, known[name])
        else:
            right = bool(more) if isinstance(more, bool) else fits(inner, more)
        if not right:
            return False
    return True
