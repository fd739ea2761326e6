"""Parameters of a request, checked against the manifest's specifications; a message names the field and the remedy."""

from __future__ import annotations

import dataclasses
import math
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.foreign import remedy
from handlers.refusals import Refusal
from handlers.spool import SMALL, WANTED, image_of

MAX_SEED = 2**53 - 1  # the largest integer that JavaScript holds exactly
MAX_VALUES = 1000  # of a list: more than any limit on what is inside allows, few enough to look at each
TYPES = ("integer", "number", "boolean", "string", "strings", "messages", "image")
_SAME = {"jpg": "jpeg"}  # another usual name of a choice
_QUOTED = {
    "integer": re.compile(r"\s*[+-]?\d{1,20}\s*"),
    "number": re.compile(r"\s*[+-]?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})([eE][+-]?\d{1,3})?\s*"),
    "boolean": re.compile(r"\s*(true|false)\s*", re.IGNORECASE),
}


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
            "image": f"an image by reference, {WANTED}{SMALL}",
        }[self.type]
        if self.minimum is not None and self.maximum is not None:
            return f"{kind} from {_plain(self.minimum)} to {_plain(self.maximum)}"
        return kind

    def check(self, value: Any) -> Any:
        """The value if it is what is wanted, else `Refusal`.

        JSON has one type of number: 7.0 and 1e3 are integers, and a bool is no number. A choice may be written in any
        case. Half a surrogate pair, which no UTF-8 can hold, is refused in every string. An image becomes its `Upload`.
        """
        if isinstance(value, list) and len(value) > MAX_VALUES:
            message = f"{self.name} is a list of {len(value)} values, wanted {self.wanted()}, at most {MAX_VALUES}"
            raise Refusal(400, message, self.name)
        if self.type == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)
        if self.choices is not None and isinstance(value, str) and value not in self.choices:
            lower = value[:MAX_VALUES].lower()
            value = next((choice for choice in self.choices if choice in (lower, _SAME.get(lower))), value)
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        right = {
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": number,
            "boolean": isinstance(value, bool),
            "string": isinstance(value, str),
            "strings": isinstance(value, str) or _all(value, str),
            "messages": are_objects(value),
            "image": (upload := image_of(value)) is not None,
        }[self.type]
        if right and number:
            right = isinstance(value, int) or math.isfinite(value)  # a huge integer is no float, and is out of range
            right = right and (self.minimum is None or value >= self.minimum)
            right = right and (self.maximum is None or value <= self.maximum)
        if right and self.choices is not None:
            right = value in self.choices
        if not right:
            raise Refusal(400, f"{self.name} is {shown(value)}, wanted {self.wanted()}{self._hint(value)}", self.name)
        for text in _strings(value):
            try:
                text.encode()
            except UnicodeEncodeError:
                message = f"{self.name} holds half of a surrogate pair, which is no text; send whole characters"
                raise Refusal(400, message, self.name) from None
        if upload is not None and self.type == "image":
            return upload
        return float(value) if self.type == "number" else value

    def _hint(self, value: Any) -> str:
        pattern = _QUOTED.get(self.type)
        if pattern is None or not isinstance(value, str) or not pattern.fullmatch(value):
            return ""
        return f"; write {value.strip().lower()} without quotes"


def check_all(params: Any, specs: Sequence[ParamSpec]) -> dict[str, Any]:
    """Every parameter with its checked value or default. Unknown fields are refused and the known ones listed."""
    known = {spec.name: spec for spec in specs}
    if not isinstance(params, Mapping):
        single = "; send what is in the list one by one" if isinstance(params, list) and params else ""
        raise Refusal(400, f"the body is {shown(params)}, wanted a JSON object with any of: {', '.join(known)}{single}")
    unknown = [str(name) for name in params if name not in known]
    if unknown:
        name, more = shown(unknown[0]), remedy(params, unknown, list(known))
        message = f"unknown field {name}; known fields: {', '.join(known)}{'; ' + more if more else ''}"
        raise Refusal(400, message, name.strip('"'))
    return {
        name: spec.check(params[name]) if params.get(name) is not None else spec.default for name, spec in known.items()
    }


def are_objects(value: Any) -> bool:
    """Whether it is a list of objects, of one at least."""
    return bool(value) and _all(value, Mapping)


def _all(value: Any, kind: type) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _strings(value: Any) -> list[str]:
    """Every string of a checked value, however deep: names and values of its objects, too."""
    found: list[str] = []
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, str):
            found.append(item)
        elif isinstance(item, Mapping):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item
    return found


def draw_seed() -> int:
    """A fresh seed for a request that gave none; the answer says which."""
    return secrets.randbelow(MAX_SEED + 1)


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else str(value)


def shown(value: Any) -> str:
    """A short, printable rendering of what a caller sent, at most 61 characters."""
    names = {dict: "an object", list: "a list", bool: "a boolean", type(None): "null"}
    if type(value) in names:
        return f"{names[type(value)]} ({str(value).lower()})" if isinstance(value, bool) else names[type(value)]
    text = f'"{value[:60]}"' if isinstance(value, str) else str(value)[:61]  # of what may be half a megabyte
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= 60 else text[:57] + '..."'
