"""`state.signer`: what becomes of every whole answer before it is sent, by the marking profile and the signature."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from gateway.errors import ApiError
from gateway.files import File, NoFiles, files_of, with_files
from gateway.provenance import aigc
from gateway.provenance.certificates import CertificateError, Credentials, credentials
from gateway.provenance.manifest import manifest, public_receipt
from gateway.provenance.signing import SIGNED, Hand, SigningError
from gateway.settings import Settings, SettingsError

if TYPE_CHECKING:
    from gateway.work import Made, Order

HEADER = "X-Atelier-Marking"  # of an answer: the profile, and what was added to its files here
THREADS = max(1, min(4, (os.cpu_count() or 1) // 2))
log = structlog.get_logger("gateway.provenance")


class Signer:
    """Marks and signs. What waits for its threads are answers in hand, whose number the connections bound."""

    def __init__(self, settings: Settings, spool: Path) -> None:
        self.profile, self._producer, self._spool = settings.profile, settings.producer or "", spool
        self._hand: Hand | None = None
        if settings.signature is not None:
            table = settings.signature
            try:
                self._hand = Hand(credentials(table.certificate, table.key, table.algorithm))
                self._hand.check()
            except CertificateError as error:
                raise SettingsError(f"setting signature: {error}") from None
            if self._hand.credentials.self_made:
                log.warning(
                    "files are signed with a certificate that is self-made for trials; readers will not trust it",
                    subject=self._hand.credentials.subject,
                )
        self._threads = ThreadPoolExecutor(THREADS, "sign")

    @property
    def credentials(self) -> Credentials | None:
        """What files are signed with, if they are."""
        return self._hand.credentials if self._hand is not None else None

    def document(self) -> dict[str, Any]:
        """What callers are told of it."""
        found = self.credentials
        if found is None:
            return {"profile": self.profile, "signature": None}
        signature = {
            "issuer": found.issuer,
            "subject": found.subject,
            "algorithm": found.algorithm,
            "expires": found.expires.date().isoformat(),
            "self_made": found.self_made,
            "content_types": list(SIGNED),
        }
        return {"profile": self.profile, "signature": signature}

    async def signed(self, order: Order, made: Made) -> Made:
        """The answer as it is sent. Raises `ApiError` (500) where a file cannot be signed that should be."""
        if order.model.medium == "text" or (self._hand is None and self.profile != "cn"):
            return dataclasses.replace(made, marking=self.profile)
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._marked, order, made)

    def close(self) -> None:
        """Wait for what is being signed."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _marked(self, order: Order, made: Made) -> Made:
        try:
            files = files_of(made.body, made.content_type)
        except NoFiles:
            return dataclasses.replace(made, marking=self.profile)  # whoever answers with it says what is wrong
        receipt = public_receipt(made.receipt, order.model)
        parent = next(_uploads(order, self._spool), None) if self._hand is not None else None
        digests = [hashlib.sha256(file.content).hexdigest() for file in files]
        added: list[str] = []
        found = []
        for file, digest in zip(files, digests, strict=True):
            content, added = self._one(file, digest, receipt, parent, made.seed)
            found.append(file._replace(content=content))
        marking = "; ".join([self.profile, *added])
        if not added:
            return dataclasses.replace(made, marking=marking)
        body, kind = with_files(found, made.body, made.content_type)
        return dataclasses.replace(made, body=body, content_type=kind, sha256s=tuple(digests), marking=marking)

    def _one(
        self, file: File, digest: str, receipt: dict[str, Any], parent: bytes | None, seed: int | None
    ) -> tuple[bytes, list[str]]:
        """The bytes of one file, and what was added to them."""
        content, added = file.content, []
        if self.profile == "cn":
            record = aigc.record(self._producer, digest)
            if (with_record := aigc.added(content, record)) is not None:
                content = with_record
                added.append("aigc")
        kind = file.content_type.partition(";")[0]
        if self._hand is not None and kind in SIGNED:
            said = manifest(kind, receipt, digest, file.seed if file.seed is not None else seed, parent is not None)
            try:
                content = self._hand.sign(content, kind, said, parent)
            except SigningError as error:
                log.error("a file could not be signed, and was not sent", reason=str(error))
                message = "the answer could not be signed, and is not sent without; the log of the gateway says why"
                raise ApiError(500, message, code="not_signed") from None
            added.append("c2pa")
        return content, added


def _uploads(order: Order, spool: Path) -> Iterator[bytes]:
    """The images that came with an order; the model has decoded them by now."""
    for spec in order.model.params.values():
        value = order.params.get(spec.name)
        if spec.type != "image" or not isinstance(value, dict):
            continue
        if isinstance(small := value.get("b64_json"), str):
            yield base64.b64decode(small)
        elif isinstance(place := value.get("spooled"), dict):
            yield (spool / place["name"]).read_bytes()
