"""Answers with images, as OpenAI's clients read them: in JSON, or as events. All of it plain work on bytes."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import time
from typing import Any

from gateway.errors import ApiError
from gateway.pictures import NotAPicture, measure
from gateway.v1.image_fields import ImageAsk
from gateway.work import Made


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image of an answer, as text in base64 where it came so."""

    b64: str
    seed: int | None


@dataclasses.dataclass(frozen=True)
class Pictures:
    """All images of an answer, of one type and size ("WIDTHxHEIGHT"; None where a file does not say it)."""

    items: list[Picture]
    content_type: str
    size: str | None

    @property
    def format(self) -> str:
        """png, jpeg, webp."""
        return self.content_type.partition("/")[2]


def opened(made: Made) -> Pictures:
    """The images of an answer. Raises `ApiError` (502) where it holds none."""
    if made.content_type.partition(";")[0] != "application/json":
        items = [Picture(base64.b64encode(made.body).decode(), made.seed)]
        return Pictures(items, made.content_type, _size(made.body))
    try:
        document = json.loads(made.body)
        items = [Picture(item["b64_json"], item.get("seed")) for item in document["data"]]
        return Pictures(items, document["content_type"], _size(file_of(items[0])))
    except (ValueError, KeyError, TypeError, IndexError, binascii.Error):
        raise ApiError(502, "the model answered with what holds no images", should_retry=False) from None


def file_of(picture: Picture) -> bytes:
    """The bytes of an image."""
    return base64.b64decode(picture.b64)


def document(pictures: Pictures, ask: ImageAsk, links: list[str] | None) -> bytes:
    """The whole answer; `links`: addresses in place of the images."""
    data: list[dict[str, Any]] = []
    for number, picture in enumerate(pictures.items):
        item = {"url": links[number]} if links is not None else {"b64_json": picture.b64}
        data.append(item if picture.seed is None else {**item, "seed": picture.seed})
    body = {"created": int(time.time()), "data": data, **_common(pictures), "usage": usage(len(data))}
    return json.dumps(body if ask.identifier is None else {**body, "safety_identifier": ask.identifier}).encode()


def events(pictures: Pictures, ask: ImageAsk, kind: str) -> bytes:
    """The answer as server-sent events: `KIND.completed` for each image."""
    name = f"{kind}.completed"
    pieces = []
    for picture in pictures.items:
        event = {
            "type": name,
            "b64_json": picture.b64,
            "created_at": int(time.time()),
            "quality": "auto",
            **_common(pictures),
            "usage": usage(1),
        }
        if picture.seed is not None:
            event["seed"] = picture.seed
        if ask.identifier is not None:
            event["safety_identifier"] = ask.identifier
        pieces.append(f"event: {name}\ndata: {json.dumps(event)}\n\n")
    return "".join(pieces).encode()


def usage(count: int) -> dict[str, Any]:
    """An image is counted as one token that was written; prompts are not counted."""
    details = {"image_tokens": 0, "text_tokens": 0}
    return {"input_tokens": 0, "output_tokens": count, "total_tokens": count, "input_tokens_details": details}


def _common(pictures: Pictures) -> dict[str, Any]:
    common = {"output_format": pictures.format, "background": "opaque"}
    return common if pictures.size is None else {**common, "size": pictures.size}


def _size(data: bytes) -> str | None:
    try:
        found = measure(data, whole=True)
    except NotAPicture:
        return None
    return f"{found.width}x{found.height}" if found is not None else None
