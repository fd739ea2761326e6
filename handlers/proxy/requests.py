"""Requests as the proxy reads them: content type, size, JSON and deadline, before any generator sees them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from handlers.bundle import BundleHead
from handlers.generator import Request
from handlers.refusals import Refusal


def read_request(bundle: BundleHead, values: Mapping[str, bytes], headers: Mapping[str, str]) -> Request:
    """The checked request of `values` as TorchServe names them and headers by lower-case name. Raises `Refusal`."""
    manifest = bundle.manifest
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise Refusal(
            415,
            "parameters are a JSON object sent as application/json (a form or a query string would lose them); "
            f"use: {_example(bundle)}",
            "Content-Type",
        )
    body, limit = values.get("body", values.get("data", b"")), manifest.limits.max_request_bytes
    if len(body) > limit:
        raise Refusal(413, f"the body has {len(body)} bytes, {manifest.name} takes at most {limit}")
    if not body.strip():
        raise Refusal(400, f"the body is empty; send at least {{}}: {_example(bundle)}")
    return Request(params=parse_json(body), deadline=read_deadline(headers))


def read_deadline(headers: Mapping[str, str]) -> float | None:
    """The absolute deadline of a request, seconds since the epoch. Raises `Refusal`."""
    value = headers.get("x-atelier-deadline")
    if value is None:
        return None
    try:
        deadline = float(value)
        if math.isnan(deadline):
            raise ValueError
        return deadline
    except ValueError:
        raise Refusal(
            400, "X-Atelier-Deadline wants seconds since the epoch, such as 1700000000.5", "X-Atelier-Deadline"
        ) from None


def parse_json(body: bytes) -> Any:
    """The value of a JSON body. Raises `Refusal` for what is not JSON, NaN and fields named twice."""

    def refuse_constant(name: str) -> None:
        raise Refusal(400, f"the body holds {name}, which is not JSON; use a finite number")

    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) != len(names):
            raise Refusal(400, "the body names a field twice; name each once")
        return dict(pairs)

    try:
        return json.loads(body, parse_constant=refuse_constant, object_pairs_hook=refuse_duplicates)
    except (ValueError, RecursionError) as error:
        detail = getattr(error, "msg", type(error).__name__)
        if isinstance(error, UnicodeDecodeError):
            detail = f"byte {error.start} is no UTF-8"
        raise Refusal(400, f'the body is not valid JSON ({detail}); wanted an object such as {{"seed": 7}}') from None


def _example(bundle: BundleHead) -> str:
    manifest = bundle.manifest
    body = json.dumps(manifest.example)
    return f"curl -H 'Content-Type: application/json' -d '{body}' ADDRESS/predictions/{manifest.name}"
