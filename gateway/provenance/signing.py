"""Signatures by C2PA (c2pa-python): one file in, the same file with a manifest out. It blocks: call it in threads."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import c2pa
from PIL import Image

from gateway.pictures import NotAPicture, measure
from gateway.provenance.certificates import CertificateError, Credentials
from gateway.provenance.manifest import PARENT

# What is signed, each tried: the content type of an answer, and its format in c2pa-python's words. Ogg (Vorbis and
# Opus) and raw samples have no place for a manifest there; nor has a stream, whose bytes are sent before all are known.
SIGNED = {
    "image/png": "image/png",
    "image/jpeg": "image/jpeg",
    "image/webp": "image/webp",
    "audio/wav": "audio/wav",
    "audio/mpeg": "audio/mpeg",
    "audio/flac": "audio/flac",
}
_SETTINGS = {
    "builder": {"thumbnail": {"enabled": False}},  # which would be larger than most of our files
    "verify": {"verify_after_sign": False, "remote_manifest_fetch": False, "ocsp_fetch": False},
}


class SigningError(Exception):
    """Error: a file could not be signed."""


class Hand:
    """What signs with one set of credentials, from any number of threads."""

    def __init__(self, credentials: Credentials) -> None:
        self.credentials = credentials
        info = c2pa.C2paSignerInfo(
            credentials.algorithm.encode(), credentials.chain, credentials.key, None
        )  # without an authority for time stamps: one that is dead makes every signature wait, then fail
        try:
            self._context = c2pa.Context.from_dict(_SETTINGS)
            self._signer = c2pa.Signer.from_info(info)
        except c2pa.C2paError as error:
            raise CertificateError(f"the certificate does not sign: {error}") from None

    def sign(
        self, content: bytes, content_type: str, manifest: Mapping[str, Any], parent: bytes | None = None
    ) -> bytes:
        """The file with its manifest. Raises `SigningError`."""
        if datetime.now(UTC) >= self.credentials.expires:
            raise SigningError(f"the certificate ended on {self.credentials.expires:%Y-%m-%d}")
        out = io.BytesIO()
        try:
            with c2pa.Builder(manifest, self._context) as builder:
                if parent is not None:
                    _add(builder, parent)
                builder.sign(self._signer, SIGNED[content_type], io.BytesIO(content), out)
        except c2pa.C2paError as error:
            raise SigningError(str(error)) from None
        return out.getvalue()

    def check(self) -> None:
        """Sign a picture and read it back. Raises `CertificateError` where that does not come out right."""
        plain = io.BytesIO()
        Image.new("RGB", (8, 8)).save(plain, "PNG")
        definition = {"claim_generator_info": [{"name": "Atelier"}], "format": "image/png", "assertions": []}
        actions = [{"action": "c2pa.created", "digitalSourceType": "http://c2pa.org/digitalsourcetype/empty"}]
        definition["assertions"] = [{"label": "c2pa.actions.v2", "data": {"actions": actions}}]
        try:
            signed = self.sign(plain.getvalue(), "image/png", definition)
            with c2pa.Reader("image/png", io.BytesIO(signed), context=self._context) as reader:
                state, found = reader.get_validation_state(), reader.get_validation_results()
        except (SigningError, c2pa.C2paError) as error:
            raise CertificateError(f"the certificate does not sign: {error}") from None
        if state not in ("Valid", "Trusted"):
            codes = [one["code"] for one in (found or {}).get("activeManifest", {}).get("failure", [])]
            raise CertificateError(f"what the certificate signs is {state}: {', '.join(codes)}")


def _add(builder: Any, parent: bytes) -> None:
    """The upload as an ingredient: its digest, and the manifest that it may have, without its pixels."""
    try:
        kind = measure(parent, whole=True)
    except NotAPicture as error:
        raise SigningError(f"the upload is none: {error}") from None
    assert kind is not None
    ingredient = {"title": "upload", "relationship": "parentOf", "label": PARENT}
    builder.add_ingredient(ingredient, kind.content_type, io.BytesIO(parent))
