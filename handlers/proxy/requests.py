"""Requests as the proxy reads them: content type, encoding, size, JSON and deadline, before any generator sees them."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Mapping

from handlers.bundle import BundleHead
from handlers.proxy.bodies import decoded, unpacked
from handlers.refusals import Refusal
from handlers.strict_json import check_json


@dataclasses.dataclass(frozen=True)
class Asked:
    """One request whose JSON has been looked at: its body in UTF-8, and the seconds that its caller gives it."""

    body: bytes
    seconds: float  # infinite where he named none


def read_request(bundle: BundleHead, values: Mapping[str, bytes], headers: Mapping[str, str]) -> Asked:
    """The checked request of `values` as TorchServe names them and headers by lower-case name. Raises `Refusal`.

    The content type is looked at before the body: nothing is made of what is no JSON.
    """
    name, limit = bundle.manifest.name, bundle.manifest.limits.max_request_bytes
    charset = read_charset(headers.get("content-type", ""))
    if charset is None:
        raise Refusal(
            415,
            "parameters are a JSON object sent as application/json (a form or a query string would lose them); "
            f"use: {_example(bundle)}",
            "Content-Type",
        )
    body = decoded(unpacked(values.get("body", b""), headers, limit, name), charset, limit, name)
    if not body.strip():
        raise Refusal(400, f"the body is empty; send at least {{}}: {_example(bundle)}")
    check_json(body)
    return Asked(body, read_seconds(headers))


def read_charset(content_type: str) -> str | None:
    """The charset that a JSON content type declares, in lower case, utf-8 where it names none; None for other types."""
    media, _, parameters = content_type.partition(";")
    if media.strip().lower() != "application/json":
        return None
    for parameter in parameters.split(";") if parameters else ():
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip('"').lower()
    return "utf-8"


def read_seconds(headers: Mapping[str, str]) -> float:
    """Seconds that a request's caller gives it, by either of two headers, or the fewer by both. Raises `Refusal`.

    A deadline is a time of the caller's clock: it means what he wants as far as his clock and ours agree.
    """
    seconds = math.inf
    if (timeout := headers.get("x-atelier-timeout")) is not None:
        seconds = _number(timeout, "X-Atelier-Timeout", "seconds from now, such as 2.5")
    if (deadline := headers.get("x-atelier-deadline")) is not None:
        at = _number(deadline, "X-Atelier-Deadline", "seconds since the epoch, such as 1700000000.5")
        seconds = min(seconds, at - time.time())
    return seconds


def _number(value: str, header: str, wanted: str) -> float:
    try:
        number = float(value)
        if math.isnan(number) or "_" in value or not value.isascii():  # Python's own ways to write a number
            raise ValueError
    except ValueError:
        raise Refusal(400, f"{header} wants {wanted}", header) from None
    return number


def _example(bundle: BundleHead) -> str:
    manifest = bundle.manifest
    body = json.dumps(manifest.example)
    return f"curl -H 'Content-Type: application/json' -d '{body}' ADDRESS/predictions/{manifest.name}"
