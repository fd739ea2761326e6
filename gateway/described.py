"""The describe document of a model, read: all that the gateway knows of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal

FORMAT = "atelier-describe/2"
MEDIA: dict[str, Literal["image", "audio"]] = {"image": "image", "audio": "audio"}
LIMITS = ("max_slots", "max_queue", "max_seconds", "max_request_bytes", "max_response_bytes")


class DescribeError(ValueError):
    """Error: a describe document is of another version or does not hold what it must."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """One parameter: its type in the words of the document, bounds (inclusive), choices, default, unit, meaning."""

    name: str
    type: str
    doc: str
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    unit: str | None = None


@dataclasses.dataclass(frozen=True)
class Described:
    """A model as its document says; `document` is all of it."""

    name: str
    version: str
    kind: str
    medium: Literal["image", "text", "audio"]
    params: Mapping[str, Spec]
    limits: Mapping[str, int]
    content_types: tuple[str, ...]
    example: Mapping[str, Any]
    certificate: Mapping[str, Any]
    source: Mapping[str, Any]
    document: Mapping[str, Any]

    def has(self, param: str) -> bool:
        """Whether it takes a parameter of that name."""
        return param in self.params


def read(name: str, body: bytes) -> Described:
    """The document that upstream sent for `name`. Raises `DescribeError` that says what is wrong with it."""
    try:
        document = json.loads(body)
    except ValueError:
        raise DescribeError(f"model {name} is described by what is no JSON") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise DescribeError(
            f"model {name} is described in the format {found!r}, this gateway reads {FORMAT!r}: "
            "run gateway and server of one version"
        )
    try:
        return _read(name, document)
    except (KeyError, TypeError, ValueError) as error:
        raise DescribeError(f"the describe document of model {name} is not whole: {error!r}") from None


def _read(name: str, document: dict[str, Any]) -> Described:
    if document["name"] != name:
        raise ValueError(f"it is of {document['name']!r}")
    fields = {field.name for field in dataclasses.fields(Spec)}
    params = {}
    for item in document["params"]:
        spec = Spec(**{key: value for key, value in item.items() if key in fields})
        params[spec.name] = dataclasses.replace(spec, choices=tuple(spec.choices) if spec.choices else None)
    limits = {str(key): int(value) for key, value in document["limits"].items()}
    missing = [key for key in LIMITS if key not in limits]
    if missing:
        raise ValueError(f"limits without {', '.join(missing)}")
    types = tuple(str(value) for value in document["content_types"])
    media = [MEDIA[top] for top in (value.partition("/")[0] for value in types) if top in MEDIA]
    return Described(
        name=name,
        version=str(document["version"]),
        kind=str(document["kind"]),
        medium=media[0] if media else "text",
        params=MappingProxyType(params),
        limits=MappingProxyType(limits),
        content_types=types,
        example=MappingProxyType(dict(document["example"])),
        certificate=MappingProxyType(dict(document["certificate"])),
        source=MappingProxyType(dict(document["source"])),
        document=MappingProxyType(document),
    )
