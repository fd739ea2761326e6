"""Parameters of a request, checked against the manifest's specifications; a message names the field and the remedy."""

from __future__ import annotations

import dataclasses
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.refusals import Refusal

MAX_SEED = 2**53 - 1  # the largest integer that JavaScript holds exactly
TYPES = ("integer", "number", "boolean", "string", "strings", "messages")


@dataclasses.dataclass(frozen=True)
class ParamSpec:
    """One parameter: its type, bounds (inclusive), choices, default, unit and documentation."""

    name: str
    type: str
    doc: str
    default: int | float | bool | str | None = None
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] | None = None
    unit: str | None = None

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"parameter {self.name} has type {self.type!r}, wanted one of {', '.join(TYPES)}")

    def wanted(self) -> str:
        """The values it takes, in words for a message: "an integer from 1 to 16"."""
        if self.choices is not None:
            return f"one of {', '.join(self.choices)}"
        kind = {
            "integer": "an integer",
            "number": "a number",
            "boolean": "true or false",
            "string": "a string",
            "strings": "a string or a list of strings",
            "messages": "a list of objects with role and content",
        }[self.type]
        if self.minimum is not None and self.maximum is not None:
            return f"{kind} from {_plain(self.minimum)} to {_plain(self.maximum)}"
        return kind

    def check(self, value: Any) -> Any:
        """The value if it is what is wanted, else `Refusal`. A bool is not an integer; 1.0 is not one either.

        Half a surrogate pair, which no UTF-8 can hold, is refused in every string.
        """
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        right = {
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": number,
            "boolean": isinstance(value, bool),
            "string": isinstance(value, str),
            "strings": isinstance(value, str) or _all(value, str),
            "messages": bool(value) and _all(value, Mapping),
        }[self.type]
        if right and number:
            right = isinstance(value, int) or math.isfinite(value)  # a huge integer is no float, and is out of range
            right = right and (self.minimum is None or value >= self.minimum)
            right = right and (self.maximum is None or value <= self.maximum)
        if right and self.choices is not None:
            right = value in self.choices
        if not right:
            raise Refusal(400, f"{self.name} is {_shown(value)}, wanted {self.wanted()}", self.name)
        for text in _strings(value):
            try:
                text.encode()
            except UnicodeEncodeError:
                message = f"{self.name} holds half of a surrogate pair, which is no text; send whole characters"
                raise Refusal(400, message, self.name) from None
        return float(value) if self.type == "number" else value


def check_all(params: Any, specs: Sequence[ParamSpec]) -> dict[str, Any]:
    """Every parameter with its checked value or default. Unknown fields are refused and the known ones listed."""
    known = {spec.name: spec for spec in specs}
    if not isinstance(params, Mapping):
        raise Refusal(400, f"the body is {_shown(params)}, wanted a JSON object with any of: {', '.join(known)}")
    unknown = [str(name) for name in params if name not in known]
    if unknown:
        raise Refusal(
            400, f"unknown field {_shown(unknown[0])}; known fields: {', '.join(known)}", _shown(unknown[0]).strip('"')
        )
    return {
        name: spec.check(params[name]) if params.get(name) is not None else spec.default for name, spec in known.items()
    }


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _strings(value: Any) -> list[str]:
    """Every string of a checked value: itself, those of a list, or those in messages."""
    if isinstance(value, Mapping):
        return [item for item in value.values() if isinstance(item, str)]
    if isinstance(value, list):
        return [text for item in value for text in _strings(item)]
    return [value] if isinstance(value, str) else []


def draw_seed() -> int:
    """A fresh seed for a request that gave none; the answer says which."""
    return secrets.randbelow(MAX_SEED + 1)


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def _shown(value: Any) -> str:
    """A short, printable rendering of what the caller sent."""
    names = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}
    if type(value) in names:
        return f"{names[type(value)]} ({str(value).lower()})" if isinstance(value, bool) else names[type(value)]
    text = f'"{value}"' if isinstance(value, str) else str(value)
    text = "".join(c if c.isprintable() else "?" for c in text[:61])  # of what may be half a megabyte
    return text if len(text) <= 60 else text[:57] + '..."'
