"""What tests of signatures share: a certificate for trials, and a file as it was before it was signed."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import c2pa

from gateway.provenance import trial
from gateway.settings import SignatureSettings


def signature(folder: Path, **changes: Any) -> SignatureSettings:
    """The settings of a certificate that is made for this test."""
    trial.make(folder)
    values = {"certificate": folder / trial.CHAIN, "key": folder / trial.KEY, **changes}
    return SignatureSettings(**values)


def manifest_of(content: bytes, content_type: str) -> tuple[str, dict[str, Any]]:
    """The state of validation of a signed file, and its newest manifest."""
    settings = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
    with c2pa.Reader(content_type, io.BytesIO(content), context=c2pa.Context.from_dict(settings)) as reader:
        document = json.loads(reader.json())
        return str(reader.get_validation_state()), document["manifests"][document["active_manifest"]]


def receipt_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the signature says of the file and its making."""
    found: dict[str, Any] = next(one["data"] for one in manifest["assertions"] if one["label"] == "atelier.receipt")
    return found


def without_manifest(content: bytes) -> bytes:
    """A PNG, JPEG, WebP or WAV without the place where its manifest stands, and nothing else changed."""
    if content.startswith(b"\x89PNG"):
        at, out = 8, content[:8]
        while at < len(content):
            end = at + 12 + int.from_bytes(content[at : at + 4])
            out += b"" if content[at + 4 : at + 8] == b"caBX" else content[at:end]
            at = end
        return out
    if content.startswith(b"\xff\xd8"):
        at, out = 2, content[:2]
        while content[at + 1] != 0xDA:
            end = at + 2 + int.from_bytes(content[at + 2 : at + 4])
            out += b"" if content[at + 1] == 0xEB else content[at:end]
            at = end
        return out + content[at:]
    at, out = 12, b""
    while at < len(content):
        length = struct.unpack_from("<I", content, at + 4)[0]
        end = at + 8 + length + length % 2
        out += b"" if content[at : at + 4] == b"C2PA" else content[at:end]
        at = end
    return b"RIFF" + struct.pack("<I", len(out) + 4) + content[8:12] + out
