"""Encryption at rest: AES-256-GCM, a data key for each row, wrapped by a key-encryption key that has an id.

Row id and field are associated data: what was sealed for one row or field does not open as another's. A key-encryption
key is changed by wrapping data keys anew; what they sealed stays as it is.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY = 32  # bytes
NONCE = 12  # bytes, random; a data key seals a few fields of one row, each once
_LINE = re.compile(r"(?P<id>[A-Za-z0-9_-]{1,32}) (?P<key>\S+)")
_WRAPPED = "data key"  # the field that a wrapped key stands for
WANTED = "wanted a line `ID KEY` for each key, the current one first, KEY being 32 random bytes in base64"


class SealError(Exception):
    """Error: a file of keys that cannot be used, a key that is missing, or sealed bytes that do not open."""


class Wrapped(NamedTuple):
    """A row's data key as it is stored, and the id of the key that wrapped it."""

    by: str
    key: bytes


class Ring:
    """Key-encryption keys by id; new rows are wrapped by the current one."""

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        self._keys, self.current = {name: AESGCM(key) for name, key in keys.items()}, current

    def new(self, row: str) -> tuple[bytes, Wrapped]:
        """A data key for a row, and as it is stored."""
        key = AESGCM.generate_key(KEY * 8)
        return key, Wrapped(self.current, seal(self._keys[self.current], key, row, _WRAPPED))

    def unwrap(self, wrapped: Wrapped, row: str) -> bytes:
        """The data key of a row. Raises `SealError`."""
        found = self._keys.get(wrapped.by)
        if found is None:
            raise SealError(
                f"row {row} was sealed under key {wrapped.by}, and the file of keys has {', '.join(self._keys)}: "
                "put that key back into it"
            )
        return unseal(found, wrapped.key, row, _WRAPPED)

    def rewrap(self, wrapped: Wrapped, row: str) -> Wrapped:
        """The same data key under the current key; the same bytes if it is under that already. Raises `SealError`."""
        if wrapped.by == self.current:
            return wrapped
        return Wrapped(self.current, seal(self._keys[self.current], self.unwrap(wrapped, row), row, _WRAPPED))


def read_ring(path: Path) -> Ring:
    """The keys of a file that this user alone may read. Raises `SealError`, which never shows a key."""
    try:
        with path.open(encoding="ascii") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            lines = file.read().splitlines()
    except OSError as error:
        raise SealError(f"keys {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SealError(f"keys {path} is no ASCII text: {WANTED}") from None
    if mode & 0o077:
        raise SealError(f"keys {path} has mode {mode:04o}, so others may read it: `chmod 600` it")
    keys: dict[str, bytes] = {}
    for number, line in enumerate(lines, 1):
        found = _LINE.fullmatch(line)
        key = _decoded(found["key"]) if found else b""
        if found is None or len(key) != KEY:
            raise SealError(f"keys {path}, line {number}: {WANTED}")
        if found["id"] in keys:
            raise SealError(f"keys {path}, line {number}: id {found['id']} is there twice; wanted each once")
        keys[found["id"]] = key
    if not keys:
        raise SealError(f"keys {path} is empty: {WANTED}")
    return Ring(keys, next(iter(keys)))


def seal(key: AESGCM, content: bytes, row: str, field: str) -> bytes:
    """Nonce, ciphertext and tag of a field of a row."""
    nonce = os.urandom(NONCE)
    return nonce + key.encrypt(nonce, content, _about(row, field))


def unseal(key: AESGCM, sealed: bytes, row: str, field: str) -> bytes:
    """What was sealed. Raises `SealError` if a byte of it, the row or the field is another."""
    try:
        return key.decrypt(sealed[:NONCE], sealed[NONCE:], _about(row, field))
    except (InvalidTag, ValueError):
        raise SealError(
            f"{field} of row {row} does not open: it was changed, moved here from another row, or sealed under "
            "another key of the same id; restore it from a backup"
        ) from None


def _about(row: str, field: str) -> bytes:
    return f"{row}\0{field}".encode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
