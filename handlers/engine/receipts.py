"""Receipts and the describe document: what an engine says of itself and of every answer."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from handlers.bundle import Bundle
from handlers.generator import Params
from handlers.identity import Identity

DESCRIBE_FORMAT = "atelier-describe/2"
MAX_RECEIPT = 4096  # bytes, as base64url
MAX_WHY = 500  # characters of the reason; the describe document has all of it


class Receipts:
    """Receipts of one engine's answers, as base64url JSON: model, bundle, handlers, engine and parameters of each."""

    def __init__(
        self, name: str, identity: Identity, candidate: Mapping[str, str], fingerprint: str, reason: str
    ) -> None:
        document = {
            "model": name,
            "version": identity.version,
            "bundle": identity.bundle,
            "handlers": identity.handlers,
            "candidate": dict(candidate),
            "fingerprint": fingerprint,
            "why": reason[:MAX_WHY],
        }
        self._same = json.dumps(document, separators=(",", ":"))[:-1] + ',"params":'  # for every answer

    def __call__(self, params: Params) -> str:
        """The receipt of one answer. Raises `ValueError` if it is too long for a header."""
        text = f"{self._same}{json.dumps(params.public(), separators=(',', ':'))}}}"
        encoded = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        if len(encoded) > MAX_RECEIPT:
            raise ValueError(f"a receipt of {len(encoded)} bytes is over {MAX_RECEIPT}: hash large parameters")
        return encoded


def describe(
    bundle: Bundle, identity: Identity, candidate: Mapping[str, str], fingerprint: str, reason: str
) -> dict[str, Any]:
    """The describe document: everything a gateway needs to offer this model to people."""
    manifest = bundle.manifest
    return {
        "format": DESCRIBE_FORMAT,
        "name": manifest.name,
        "version": identity.version,
        "bundle": identity.bundle,
        "recipe": manifest.recipe,
        "kind": manifest.kind,
        "lane": manifest.resources.lane,
        "params": [dataclasses.asdict(spec) for spec in manifest.params],
        "content_types": list(manifest.content_types),
        "limits": manifest.limits.document(),
        "scope": manifest.scope,
        "example": manifest.example,
        "source": manifest.source,
        "serving": {"candidate": dict(candidate), "fingerprint": fingerprint, "reason": reason},
        "certificate": bundle.certificate.document(),
    }
