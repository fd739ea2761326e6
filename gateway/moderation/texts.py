"""The texts of an order, which a model is given, and of what it made: each with its place."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gateway.described import Described

EVENTS = "text/event-stream"


class Placed(NamedTuple):
    """A text and where it stands, such as `prompt` or `messages[2].content`."""

    place: str
    text: str


class Picture(NamedTuple):
    """An image of an answer, and the seed that it is of, where that is told."""

    content: bytes
    seed: int | None


def given(model: Described, params: Mapping[str, Any]) -> list[Placed]:
    """Every text that a model is given; not what is one of some words, nor images and what stands for them."""
    found: list[Placed] = []
    for name, value in params.items():
        spec = model.params.get(name)
        if spec is None or (spec.type != "image" and not spec.choices):
            found += _within(name, value)
    return found


def uploads(model: Described, params: Mapping[str, Any], folder: Path) -> list[tuple[str, bytes]]:
    """The images that a model is given, by their parameter: files of the spool, or in the request itself. It blocks."""
    found = []
    for name, value in params.items():
        spec = model.params.get(name)
        if spec is None or spec.type != "image" or not isinstance(value, dict):
            continue
        if isinstance(spooled := value.get("spooled"), dict):
            found.append((name, (folder / spooled["name"]).read_bytes()))
        elif isinstance(text := value.get("b64_json"), str):
            with contextlib.suppress(binascii.Error, ValueError):  # the model refuses it
                found.append((name, base64.b64decode(text, validate=True)))
    return found


def made(body: bytes, content_type: str) -> list[Placed]:
    """The texts of a model's whole answer; of one that came as events those that they are pieces of."""
    documents = _events(body) if content_type.startswith(EVENTS) else [_opened(body)]
    texts: dict[int, list[str]] = {}
    for document in documents:
        for index, text, _ in choices(document):
            texts.setdefault(index, []).append(text)
    return [Placed(f"choices[{index}]", "".join(pieces)) for index, pieces in sorted(texts.items())]


def choices(document: Any) -> Iterator[tuple[int, str, bool]]:
    """Of a model's document: each choice's index, its text, and whether that ends with it."""
    found = document.get("choices") if isinstance(document, dict) else None
    for choice in found if isinstance(found, list) else ():
        if not isinstance(choice, dict):
            continue
        turn = choice.get("message") or choice.get("delta") or choice
        text = turn.get("content", turn.get("text")) if isinstance(turn, dict) else None
        index = choice.get("index")
        ended = choice.get("finish_reason") is not None
        yield index if isinstance(index, int) else 0, text if isinstance(text, str) else "", ended


def pictures(body: bytes, content_type: str, seed: int | None) -> list[Picture]:
    """The images of a model's answer: the body itself, or those in its JSON."""
    if content_type.partition(";")[0] != "application/json":
        return [Picture(body, seed)]
    document = _opened(body)
    items = document.get("data") if isinstance(document, dict) else None
    found = []
    for item in items if isinstance(items, Sequence) else ():
        try:
            content = base64.b64decode(item["b64_json"], validate=True)
            found.append(Picture(content, item.get("seed")))
        except (KeyError, TypeError, AttributeError, binascii.Error):
            continue  # the route tells that such an answer holds no images
    return found


def _within(place: str, value: Any) -> Iterator[Placed]:
    """Texts in lists and objects, which are no deeper than a body may be."""
    if isinstance(value, str):
        yield Placed(place, value)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _within(f"{place}[{at}]", item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name != "role":
                yield from _within(f"{place}.{name[:60]}", item)


def _opened(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _events(body: bytes) -> list[Any]:
    return [_opened(line.removeprefix(b"data: ")) for line in body.split(b"\n") if line.startswith(b"data: {")]
