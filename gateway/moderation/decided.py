"""Decisions as they lie in the database, for their operator. It blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Engine, select

from gateway.accounts.tables import DECISIONS
from gateway.sealed import Ring, SealError, Wrapped, unseal


def decided(engine: Engine, last: int, ring: Ring | None) -> Iterator[dict[str, Any]]:
    """The last decisions, the oldest of them first; `text` is what it was where its key is in the ring."""
    query = select(DECISIONS).order_by(DECISIONS.c.created.desc(), DECISIONS.c.id.desc()).limit(last)
    with engine.connect() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    for row in reversed(rows):
        if row["text"] is not None:
            row["text"] = _opened(row, ring)
        yield row


def _opened(row: dict[str, Any], ring: Ring | None) -> str:
    if ring is None:
        return "(sealed; the settings name no encryption_keys)"
    try:
        key = ring.unwrap(Wrapped(row["text_key_by"], row["text_key"]), row["id"])
        return unseal(AESGCM(key), row["text"], row["id"], "text").decode()
    except SealError as error:
        return f"({error})"
