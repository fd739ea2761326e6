"""Receipts and the describe document: what an engine says of itself and of every answer."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from handlers.bundle import Bundle
from handlers.generator import Params
from handlers.identity import HOME, Identity

DESCRIBE_FORMAT = "atelier-describe/2"
MAX_RECEIPT = 4096  # bytes, as base64url
MAX_WHY = 500  # characters of the reason, at most; the describe document has all of it
PARAMS_BYTES = 1024  # of a receipt's JSON, kept for the parameters
# What stands before the last part of an absolute path.
_PATH = re.compile(r"(?<![\w.~-])(?:/[^\s/:;,'\"()]+)*/(?=[^\s/])")


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
        }
        # The same for every answer. The reason may have any number of bytes a character, and gives way.
        room = MAX_RECEIPT * 3 // 4 - PARAMS_BYTES - len(_json(document)) - len(',"why":""')
        why = without_folders(reason)[:MAX_WHY]
        while why and len(_json(why)) - 2 > room:
            why = why[: len(why) * 3 // 4]
        self._same = _json({**document, "why": why})[:-1] + ',"params":'

    def __call__(self, params: Params) -> str:
        """The receipt of one answer. Raises `ValueError` if it is too long for a header."""
        text = f"{self._same}{_json(params.public())}}}"
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
        "serving": {"candidate": dict(candidate), "fingerprint": fingerprint, "reason": without_folders(reason)},
        "certificate": bundle.certificate.document(),
    }


def without_folders(text: str) -> str:
    """A text for callers: of an absolute path in it the file's name alone, because folders tell whose machine it is."""
    for folder in (str(HOME.parent), *(os.environ.get(name, "") for name in ("TMPDIR", "PWD", "HOME"))):
        if len(folder) > 1:  # these may hold spaces, which end a path for the pattern
            text = text.replace(f"{folder}/", "/")
    return _PATH.sub("", text)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
