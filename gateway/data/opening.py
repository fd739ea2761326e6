"""Rows and files as their account wrote and got them: what is sealed is opened."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.accounts.history import SEALED, file_field
from gateway.data.rotation import PAIRS
from gateway.sealed import Ring, SealError, Wrapped, unseal

JSON_FIELDS = ("asked", "receipt")  # of a generation; in the table they are texts


def opened(row: dict[str, Any], ring: Ring | None) -> dict[str, Any]:
    """A row with its texts; what does not open has None in their place, and `trouble` says why."""
    found = dict(row)
    try:
        cipher = _cipher(row, ring)
        for field in SEALED:
            value = row.get(field)
            if cipher is not None and value is not None:
                found[field] = unseal(cipher, _sealed(value), row["id"], field).decode()
            if field in JSON_FIELDS and found.get(field) is not None:
                found[field] = json.loads(found[field])
    except SealError as error:
        return {**found, **{field: None for field in SEALED if field in row}, "trouble": str(error)}
    return found


def opened_file(row: dict[str, Any], index: int, content: bytes, ring: Ring | None) -> bytes:
    """A file of a generation as it was sent. Raises `SealError`."""
    cipher = _cipher(row, ring)
    return content if cipher is None else unseal(cipher, content, row["id"], file_field(index))


def _cipher(row: dict[str, Any], ring: Ring | None) -> AESGCM | None:
    for key, by in PAIRS:
        if row.get(key) is not None:
            if ring is None:
                raise SealError(
                    f"row {row['id']} was sealed under key {row[by]}, and no file of keys is set: "
                    "set encryption_keys to the one that has it"
                )
            return AESGCM(ring.unwrap(Wrapped(row[by], _sealed(row[key])), row["id"]))
    return None


def _sealed(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else base64.b64decode(value)
