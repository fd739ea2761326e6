"""What OpenAPI 3.1 and JSON Schema want of a document, as far as the gateway's uses it, and values against schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gateway.v1.schemas import same

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}
OPERATION = {"operationId", "summary", "tags", "parameters", "requestBody", "responses", "security"}
# Keywords of schemas, and the type of their values.
KEYWORDS: dict[str, type | tuple[type, ...]] = {
    "$ref": str,
    "type": (str, list),
    "enum": list,
    "minimum": (int, float),
    "maximum": (int, float),
    "minLength": int,
    "maxLength": int,
    "minItems": int,
    "maxItems": int,
    "maxProperties": int,
    "pattern": str,
    "items": dict,
    "properties": dict,
    "additionalProperties": (bool, dict),
    "required": list,
    "oneOf": list,
    "default": object,
    "title": str,
    "description": str,
    "contentMediaType": str,
}


def problems(document: Mapping[str, Any]) -> list[str]:
    """What is wrong with a document; empty for a valid one."""
    return [*_root(document), *_paths(document), *_references(document, document)]


def _root(document: Mapping[str, Any]) -> Iterator[str]:
    if not re.fullmatch(r"3\.1\.\d+", str(document.get("openapi"))):
        yield f"openapi is {document.get('openapi')!r}"
    for name in ("title", "version"):
        if not isinstance(document.get("info", {}).get(name), str):
            yield f"info without {name}"
    if more := set(document) - {"openapi", "info", "paths", "components", "security"}:
        yield f"unknown at the top: {more}"
    for name, schema in document["components"]["schemas"].items():
        if not re.fullmatch(r"[A-Za-z0-9._-]+", name):
            yield f"{name!r} is no name of a component"
        yield from _schema(schema, name)
    schemes = document["components"].get("securitySchemes", {})
    for one in document.get("security", []):
        yield from (f"no security scheme {name}" for name in one if name not in schemes)


def _paths(document: Mapping[str, Any]) -> Iterator[str]:
    seen: set[str] = set()
    for path, methods in document["paths"].items():
        if not path.startswith("/"):
            yield f"path {path!r}"
        for method, operation in methods.items():
            where = f"{method} {path}"
            if method not in METHODS or set(operation) - OPERATION:
                yield f"{where}: {sorted(operation)}"
            if operation.get("operationId") in seen:
                yield f"{where}: operationId {operation.get('operationId')} is there twice"
            seen.add(operation.get("operationId"))
            yield from _operation(operation, path, where)


def _operation(operation: Mapping[str, Any], path: str, where: str) -> Iterator[str]:
    named = {one["name"] for one in operation.get("parameters", []) if one["in"] == "path" and one["required"] is True}
    if named != set(re.findall(r"{(\w+)}", path)):
        yield f"{where}: parameters of the path are {named}"
    for one in operation.get("parameters", []):
        yield from _schema(one["schema"], f"{where} {one['name']}")
    responses = operation.get("responses")
    if not responses:
        yield f"{where}: no responses"
    for status, response in (responses or {}).items():
        if not re.fullmatch(r"[1-5]\d\d|default", status):
            yield f"{where}: status {status!r}"
        if "$ref" not in response and not isinstance(response.get("description"), str):
            yield f"{where}: response {status} without a description"
        for content in response.get("content", {}).values():
            yield from _schema(content.get("schema", {}), f"{where} {status}")
    for content in operation.get("requestBody", {}).get("content", {}).values():
        yield from _schema(content["schema"], where)


def _schema(schema: Mapping[str, Any], where: str) -> Iterator[str]:
    for name, value in schema.items():
        if name not in KEYWORDS or not isinstance(value, KEYWORDS[name]):
            yield f"{where}: {name} is {value!r}"
    kinds = schema.get("type", [])
    if isinstance(kinds, list) and len(set(kinds)) < len(kinds):
        yield f"{where}: {kinds} names a type twice"
    for kind in [kinds] if isinstance(kinds, str) else kinds:
        if kind not in TYPES:
            yield f"{where}: type {kind!r}"
    for i, one in enumerate(schema.get("enum", [])):
        if any(same(one, other) for other in schema["enum"][:i]):
            yield f"{where}: {one!r} is in enum twice"
    if missing := set(schema.get("required", ())) - set(schema.get("properties", {})):
        yield f"{where}: required and no property: {missing}"
    if "pattern" in schema:
        re.compile(schema["pattern"])
    for name, inner in schema.get("properties", {}).items():
        yield from _schema(inner, f"{where}.{name}")
    single = [schema.get("items"), schema.get("additionalProperties")]
    for inner in (*schema.get("oneOf", ()), *(one for one in single if isinstance(one, dict))):
        yield from _schema(inner, where)


def _references(value: Any, document: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str) and resolved(value["$ref"], document) is None:
            yield f"{value['$ref']} leads nowhere"
        for inner in value.values():
            yield from _references(inner, document)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner, document)


def resolved(reference: str, document: Mapping[str, Any]) -> Any:
    """What a reference within the document leads to; None: nothing."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def valid(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    """Whether a JSON value is what a schema of a document says (JSON Schema 2020-12, what is used of it)."""
    if "$ref" in schema:
        return valid(value, resolved(schema["$ref"], document), document)
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds)):
        return False
    if "enum" in schema and not any(same(value, one) for one in schema["enum"]):
        return False
    if "oneOf" in schema and sum(valid(value, one, document) for one in schema["oneOf"]) != 1:
        return False
    return _within(value, schema, document)


def _within(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    if isinstance(value, dict):
        return _valid_object(value, schema, document)
    if isinstance(value, list):
        items = schema.get("items", {})
        right = schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value))
        return right and all(valid(one, items, document) for one in value)
    if isinstance(value, str):
        right = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        return right and ("pattern" not in schema or re.search(schema["pattern"], value) is not None)
    if isinstance(value, bool) or value is None:
        return True
    return bool(schema.get("minimum", value) <= value <= schema.get("maximum", value))


def _valid_object(value: Mapping[str, Any], schema: Mapping[str, Any], document: Mapping[str, Any]) -> bool:
    known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
    if len(value) > schema.get("maxProperties", len(value)) or not set(schema.get("required", ())) <= set(value):
        return False
    for name, inner in value.items():
        rule = known.get(name, more)
        if rule is False or (isinstance(rule, dict) and not valid(inner, rule, document)):
            return False
    return True


def _is(value: Any, kind: str) -> bool:
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
