"""Which classes a request for sound asks for: one by its name or number, or a text of digits, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from handlers.refusals import Refusal


def named(params: Any, classes: Sequence[str]) -> Any:
    """The request with its `label` by name, where it is given by number (a name that is a number comes first)."""
    found = params.get("label") if isinstance(params, Mapping) else None
    if isinstance(found, bool) or not isinstance(found, int):
        return params
    if str(found) in classes:
        return {**params, "label": str(found)}
    return {**params, "label": classes[found]} if 0 <= found < len(classes) else params


def said(label: str | None, text: str | None, classes: Sequence[str]) -> tuple[int, ...] | None:
    """The classes of the clips of one sound; None where nothing is asked for. Raises `Refusal`."""
    if label is not None and text is not None:
        raise Refusal(400, "label and text are both given; leave one of them out", "text")
    if text is None:
        return None if label is None else (classes.index(label),)
    characters = "".join(text.split())
    if not characters:
        raise Refusal(400, 'text holds no digit; write digits, such as "4 2 0 7"', "text")
    for character in characters:
        if character not in classes:
            message = f"text holds {character!r}, which this model does not say; it says {', '.join(classes)}"
            raise Refusal(400, f"{message}, and takes spaces", "text")
    return tuple(map(list(classes).index, characters))
