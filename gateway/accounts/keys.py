"""The format of API keys: `atl_`, 32 random bytes in base 62, a checksum.

The prefix lets scanners find keys that leaked; the checksum turns a typing mistake away before the database is asked.
Only the SHA-256 of a key is ever stored: it holds 256 random bits, so a slow hash would protect nothing more.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib

PREFIX = "atl_"
ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
SECRET, CHECK = 43, 6  # characters of base 62 that hold 32 bytes, and a CRC-32
LENGTH = len(PREFIX) + SECRET + CHECK
HINT = len(PREFIX) + 6  # characters that are stored and shown, so that an operator tells keys apart
PATTERN = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{SECRET}}})([0-9A-Za-z]{{{CHECK}}})")


def new_key() -> str:
    """A key that nobody had before."""
    secret = _base62(int.from_bytes(secrets.token_bytes(32), "big"), SECRET)
    return f"{PREFIX}{secret}{_checksum(secret)}"


def digest(key: str) -> str:
    """What is stored of a key: 64 hexadecimal characters."""
    return hashlib.sha256(key.encode()).hexdigest()


def fault(key: str) -> str | None:
    """What keeps a text from being a key of ours, without repeating it; None: it may be one."""
    if not key.startswith(PREFIX):
        return f"it does not begin with {PREFIX}"
    found = PATTERN.fullmatch(key)
    if found is None:
        return f"a key has {LENGTH} letters and digits with its {PREFIX}, this one has {len(key)} characters" + (
            ", not all of them letters or digits" if len(key) == LENGTH else ""
        )
    if _checksum(found[1]) != found[2]:
        return "its checksum does not fit, so a character of it was lost or changed"
    return None


def _checksum(secret: str) -> str:
    return _base62(zlib.crc32(secret.encode()), CHECK)


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, rest = divmod(number, len(ALPHABET))
        digits = ALPHABET[rest] + digits
    return digits
