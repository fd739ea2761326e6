"""`state.checks`: examines files of callers, a few at a time, and asks the history about them."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import State

from gateway.accounts import provenance
from gateway.accounts.caller import Caller
from gateway.accounts.database import reason
from gateway.arrival import Spooled
from gateway.errors import ApiError, overloaded
from gateway.limits import Limits
from gateway.provenance.certificates import CertificateError, certificates
from gateway.provenance.signer import Signer
from gateway.settings import LimitSettings, Settings, SettingsError

AT_ONCE, WAITING = 2, 16  # files that are examined, and that wait for it
SECONDS = 30.0  # that one may take
_ROOT = Path(__file__).resolve().parents[2]  # where the package lies
log = structlog.get_logger("gateway.provenance")


class Checks:
    """What is found in files, and how often a caller may ask. `state` is the application's."""

    def __init__(self, state: State, settings: Settings, signer: Signer) -> None:
        self._state, self._most = state, LimitSettings(requests_a_minute=settings.verifications_a_minute)
        self._turns, self._waiting = asyncio.Semaphore(AT_ONCE), 0
        self._limits: Limits | None = None
        self._anchors, self._serial = "", ""
        if (own := signer.credentials) is not None:
            chain = x509.load_pem_x509_certificates(own.chain)
            self._serial = str(chain[0].serial_number)
            self._anchors = chain[-1].public_bytes(serialization.Encoding.PEM).decode()
        if settings.signature is not None and (trust := settings.signature.trust) is not None:
            try:
                trusted = certificates(trust)
            except CertificateError as error:
                raise SettingsError(f"setting signature.trust: {error}") from None
            self._anchors += "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in trusted)

    async def check(self, caller: Caller, file: Spooled) -> dict[str, Any]:
        """All that is known of a file of the spool. Raises `ApiError`: 429, 503, 400 where it cannot be examined."""
        if self._limits is None:
            self._limits = Limits(self._state.accounts.audit)
        async with self._limits.admit(dataclasses.replace(caller, limits=self._most)):
            if self._waiting >= WAITING:
                raise overloaded(f"{WAITING} files wait to be examined, which is all that are taken; come again", 2.0)
            self._waiting += 1
            try:
                async with self._turns:
                    found = await self._examined(self._state.spool.folder / file.name)
            finally:
                self._waiting -= 1
        found["log"] = await asyncio.to_thread(self._known, caller, file.sha256, found)
        return {"sha256": file.sha256, "bytes": file.bytes, "verdict": _verdict(found), **found}

    async def _examined(self, path: Path) -> dict[str, Any]:
        """In a process of its own, which is ended when its time is up or its caller leaves."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gateway.provenance.examine"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=path.parent,
            env={"PYTHONPATH": str(_ROOT), "PATH": os.defpath},
        )
        request = json.dumps({"path": str(path), "anchors": self._anchors, "serial": self._serial}).encode()
        try:
            out, _ = await asyncio.wait_for(process.communicate(request), SECONDS)
        except TimeoutError:
            raise _unreadable(f"it took over {SECONDS:g} s") from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            log.warning("a file could not be examined", code=process.returncode)
            raise _unreadable(f"what reads it gave up with code {process.returncode}")
        document: dict[str, Any] = json.loads(out)
        return document

    def _known(self, caller: Caller, sha256: str, found: dict[str, Any]) -> list[dict[str, Any]] | None:
        """What the history has; None while its database does not answer."""
        engine = self._state.accounts.store.engine
        digests = {sha256}
        made = found["c2pa"].get("made")
        if found["c2pa"]["state"] in ("valid", "trusted") and isinstance((said := (made or {}).get("sha256")), str):
            digests.add(said)
        try:
            rows = provenance.by_digest(engine, digests)
            if not rows and found["phash"] is not None:
                rows = provenance.by_looks(engine, found["phash"])
        except SQLAlchemyError as error:
            log.error("the history cannot be asked about a file", reason=reason(error))
            return None
        return [_told(row, caller) for row in rows]


def _told(row: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """What anybody may know of a generation; its id for its owner alone, and never what was asked."""
    told = {name: row[name] for name in ("match", "model", "version", "sha256")}
    told |= {"created": int(row["created"]), "distance": row.get("distance", 0)}
    return {**told, "id": row["id"]} if row["owner"] == caller.owner else told


def _verdict(found: dict[str, Any]) -> str:
    """`made_here`, `looks_like_made_here`, `generated` (it says so itself), or `unknown`: no sign is no proof."""
    c2pa, known = found["c2pa"], found["log"] or []
    if c2pa.get("by_this_gateway") or any(row["match"] == "digest" for row in known):
        return "made_here"
    if known:
        return "looks_like_made_here"
    holds = c2pa["state"] in ("valid", "trusted")
    types = [*(c2pa.get("digital_source_types", []) if holds else [])]
    types += [mark["digital_source_type"] for mark in found["marks"] if "digital_source_type" in mark]
    if any("lgorithmicMedia" in kind for kind in types) or any("aigc" in mark for mark in found["marks"]):
        return "generated"
    return "unknown"


def _unreadable(why: str) -> ApiError:
    return ApiError(400, f"the file cannot be examined: {why}; it may be damaged", param="file", code="unreadable")
