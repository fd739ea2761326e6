"""Texts to learn from: those of the written world (see `sentences`), or those of a file.

A file is UTF-8. If blank lines divide it, what stands between them are the texts; else every line is one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data import DataError, TextSet, held_out, sentences

BOUNDARY = b"\0"  # stands around every text, and is what no text may hold
MAX_FILE_BYTES = 250_000_000
_WISH = (
    "give a UTF-8 file with one text per line or texts divided by blank lines, "
    f"or '{sentences.NAME}' for the written ones"
)


def open_texts(data: str, count: int) -> TextSet:
    """The first `count` texts of the written world for `data == "sentences"`, else the texts of a file.

    Raises `DataError` for a file that is missing, empty, too large, not UTF-8, or holds the byte 0.
    """
    if data != sentences.NAME:
        return _file_set(Path(data))
    learned, kept = held_out.divide(sentences.text, str, count)
    name = f"{sentences.NAME}-v{sentences.VERSION}-{count}"
    return _text_set(name, learned, kept, "Apache-2.0", "written by training/data/sentences.py")


def stream(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as one row of bytes (N,), a boundary before, between and after them."""
    return np.frombuffer(BOUNDARY + b"".join(text.encode() + BOUNDARY for text in texts), np.uint8)


def _text_set(name: str, texts: Sequence[str], kept: Sequence[str], licence: str, source: str) -> TextSet:
    sha256 = hashlib.sha256(stream([*texts, *kept]).tobytes()).hexdigest()
    return TextSet(name=name, sha256=sha256, licence=licence, source=source, texts=tuple(texts), held_out=tuple(kept))


def _file_set(path: Path) -> TextSet:
    texts = _split(_content(path))
    if len(texts) < 2:
        raise DataError(f"{path} holds {len(texts)} texts, wanted at least 2 (one to learn, one to measure); {_WISH}")
    every = min(held_out.EVERY, len(texts))
    learned = [text for at, text in enumerate(texts, 1) if at % every]
    return _text_set(f"{path.name}-{len(texts)}", learned, texts[every - 1 :: every], "unknown (user data)", path.name)


def _content(path: Path) -> str:
    if not path.is_file():
        raise DataError(f"--data {path} {'is not a file' if path.exists() else 'does not exist'}; {_WISH}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(
            f"{path} has {path.stat().st_size} bytes, over the limit of {MAX_FILE_BYTES}: give a part of it"
        )
    raw = path.read_bytes()
    if BOUNDARY in raw:
        line = raw[: raw.index(BOUNDARY)].count(b"\n") + 1
        raise DataError(f"{path} holds the byte 0 in line {line}, which no text may (it divides texts); {_WISH}")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        found = f"byte 0x{error.object[error.start]:02x} in line {line}"
        raise DataError(f"{path} is not UTF-8: {found}; {_WISH}") from None


def _split(content: str) -> list[str]:
    lines = [line.rstrip() for line in re.split(r"\r\n|\r|\n", content)]
    blocks = re.split(r"\n{2,}", "\n".join(lines).strip("\n"))
    return [text for text in (blocks if len(blocks) > 1 else blocks[0].split("\n")) if text]
