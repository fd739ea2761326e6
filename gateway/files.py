"""The files in a model's answer: the answer itself, or several as base64 in JSON."""

from __future__ import annotations

import base64
import binascii
import json
from typing import NamedTuple

JSON = "application/json"


class NoFiles(ValueError):
    """Error: an answer in JSON that holds no files."""


class File(NamedTuple):
    """One file of an answer; `seed` is None where the answer is the file and does not say it."""

    content: bytes
    content_type: str
    seed: int | None


def files_of(body: bytes, content_type: str) -> list[File]:
    """The files of an answer of images or sounds. Raises `NoFiles`."""
    if content_type.partition(";")[0] != JSON:
        return [File(body, content_type, None)]
    try:
        document = json.loads(body)
        kind = document["content_type"]
        return [File(base64.b64decode(item["b64_json"]), kind, item.get("seed")) for item in document["data"]]
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise NoFiles("the answer of the model holds no files in the shape that is known here") from None
