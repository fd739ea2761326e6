"""A model's parameters held to its describe document: for work that begins later, whose caller is told at once.

What is answered at once leaves this to the model, which knows more and says the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gateway.described import Described, Spec
from gateway.v1.asked import refuse, shown

NEEDED = ("messages", "text")  # without which a model of text has nothing to answer
OTHER_NAMES = {"jpg": "jpeg"}  # of choices
_WORDS = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "a string",
    "strings": "a string or a list of strings",
    "messages": "a list of objects with role and content",
}


def check(model: Described, params: Mapping[str, Any]) -> None:
    """Raise an `ApiError` (400) that names the first parameter that cannot be right."""
    for name in NEEDED:
        if model.medium == "text" and model.has(name) and params.get(name) is None:
            refuse(name, f"{name} is missing; model {model.name} answers it")
    for name, value in params.items():
        spec = model.params.get(name)
        if spec is None or value is None or spec.type not in _WORDS:
            continue
        if not (_fits(value, spec.type) and _bounded(value, spec) and _chosen(value, spec)):
            refuse(name, f"{name} is {shown(value)}, wanted {_wanted(spec)}")


def _fits(value: Any, kind: str) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "number":
        return number and (isinstance(value, int) or math.isfinite(value))
    if kind == "integer":
        return number and (isinstance(value, int) or value.is_integer())
    if kind == "strings":
        return isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value))
    if kind == "messages":
        return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)
    return isinstance(value, bool if kind == "boolean" else str)


def _bounded(value: Any, spec: Spec) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return True
    low, high = spec.minimum, spec.maximum
    return (low is None or value >= low) and (high is None or value <= high)


def _chosen(value: Any, spec: Spec) -> bool:
    if spec.choices is None or not isinstance(value, str):
        return True
    return value in spec.choices or OTHER_NAMES.get(value.lower(), value.lower()) in spec.choices


def _wanted(spec: Spec) -> str:
    if spec.choices:
        return f"one of {', '.join(spec.choices)}"
    bounds = [f"at least {spec.minimum:g}"] if spec.minimum is not None else []
    bounds += [f"at most {spec.maximum:g}"] if spec.maximum is not None else []
    return " ".join((_WORDS[spec.type], ", ".join(bounds))).strip()
