"""Encryption at rest: opens for its own row alone, and keys change without touching what was sealed."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.sealed import KEY, Ring, SealError, Wrapped, read_ring, seal, unseal

OLD, NEW = b"o" * KEY, b"n" * KEY


def line(name: str, key: bytes) -> str:
    return f"{name} {base64.b64encode(key).decode()}\n"


def keys(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_what_was_sealed_opens_for_its_row_and_field_alone() -> None:
    key, _ = Ring({"k1": OLD}, "k1").new("row")
    cipher = AESGCM(key)
    sealed = seal(cipher, b"a cat", "row", "asked")
    assert b"a cat" not in sealed
    assert unseal(cipher, sealed, "row", "asked") == b"a cat"
    assert seal(cipher, b"a cat", "row", "asked") != sealed
    for row, field in (("other", "asked"), ("row", "receipt")):
        with pytest.raises(SealError, match=f"{field} of row {row} does not open"):
            unseal(cipher, sealed, row, field)


@pytest.mark.parametrize("at", range(12 + 5 + 16))
def test_a_changed_byte_is_noticed_wherever_it_is(at: int) -> None:
    cipher = AESGCM(OLD)
    sealed = bytearray(seal(cipher, b"a cat", "row", "asked"))
    sealed[at] ^= 1
    with pytest.raises(SealError, match="it was changed"):
        unseal(cipher, bytes(sealed), "row", "asked")


@pytest.mark.parametrize("length", [0, 5, 12, 20])
def test_half_of_it_does_not_open(length: int) -> None:
    cipher = AESGCM(OLD)
    with pytest.raises(SealError, match="does not open"):
        unseal(cipher, seal(cipher, b"a cat", "row", "asked")[:length], "row", "asked")


def test_a_key_is_changed_without_touching_what_was_sealed() -> None:
    key, wrapped = Ring({"k1": OLD}, "k1").new("row")
    both = Ring({"k2": NEW, "k1": OLD}, "k2")
    again = both.rewrap(wrapped, "row")
    assert again.by == "k2"
    assert both.rewrap(again, "row") is again  # so a rotation that broke off is begun anew
    assert Ring({"k2": NEW}, "k2").unwrap(again, "row") == key


def test_a_key_that_is_missing_is_named() -> None:
    _, wrapped = Ring({"k1": OLD}, "k1").new("row")
    with pytest.raises(SealError, match="row row was sealed under key k1, and the file of keys has k2"):
        Ring({"k2": NEW}, "k2").rewrap(wrapped, "row")
    with pytest.raises(SealError, match="another key of the same id"):
        Ring({"k1": NEW}, "k1").unwrap(wrapped, "row")
    with pytest.raises(SealError, match="of row other does not open"):
        Ring({"k1": OLD}, "k1").unwrap(Wrapped("k1", wrapped.key), "other")


def test_the_first_key_of_a_file_is_the_current_one(tmp_path: Path) -> None:
    ring = read_ring(keys(tmp_path / "keys", line("k2", NEW) + line("k1", OLD)))
    assert ring.current == "k2"
    key, wrapped = Ring({"k1": OLD}, "k1").new("row")
    assert ring.unwrap(wrapped, "row") == key


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty: wanted a line"),
        ("k1\n", "line 1: wanted a line `ID KEY`"),
        (line("k1", OLD) + line("k2", b"secret"), "line 2: wanted a line"),
        ("k1 c2VjcmV0*\n", "line 1: wanted a line"),
        (line("k1", OLD) + line("k1", NEW), "line 2: id k1 is there twice"),
    ],
)
def test_a_wrong_file_of_keys_is_told_without_showing_a_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SealError) as error:
        read_ring(keys(tmp_path / "keys", text))
    assert said in str(error.value)
    assert "c2VjcmV0" not in str(error.value)


def test_a_file_that_is_missing_or_that_others_may_read(tmp_path: Path) -> None:
    with pytest.raises(SealError, match="cannot be read: No such file"):
        read_ring(tmp_path / "none")
    with pytest.raises(SealError, match="has mode 0644, so others may read it"):
        read_ring(keys(tmp_path / "keys", line("k1", OLD), 0o644))
