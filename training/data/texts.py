"""Texts to learn from: those of the written world (see `sentences`), or those of files, folders and archives of them.

If blank lines divide a file, what stands between them are the texts; else every line is one. JSON lines hold a text
each in the field `text`, and tables in their one column, or that called `text`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from training.data import DataError, TextSet, Unusable, decoding, documents, held_out, records, sentences, tables
from training.data.documents import Document, Wanted

BOUNDARY = b"\0"  # stands around every text, and is what no text may hold
MAX_FILE_BYTES = 250_000_000
LONG = 20_000  # bytes of a single text, over which it is cut into pieces
PIECE = 2_000  # characters of such a piece
_COLUMNS = ("text", "content", "sentence")
_SUFFIXES = (".txt", ".text", ".md", ".markdown", ".rst", ".asc", "", *records.READERS, *tables.DELIMITERS)
_WISH = (
    "give a UTF-8 file with one text per line or texts divided by blank lines, several of them divided by commas, a "
    f"folder or a .zip file of them, or '{sentences.NAME}' for the written ones"
)


def open_texts(data: str, count: int, encoding: str | None = None) -> TextSet:
    """The first `count` texts of the written world for `data == "sentences"`, else the texts of files.

    `encoding` is for files only. Raises `DataError` for a file that is missing, empty, too large, not of its encoding,
    or holds the byte 0.
    """
    if data != sentences.NAME:
        return _file_set(data, encoding)
    learned, kept = held_out.divide(sentences.text, str, count)
    name = f"{sentences.NAME}-v{sentences.VERSION}-{count}"
    found = _text_set(name, learned, kept, "Apache-2.0", "written by training/data/sentences.py")
    return dataclasses.replace(found, notes=documents.hidden_by(data))


def stream(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as one row of bytes (N,), a boundary before, between and after them."""
    return np.frombuffer(BOUNDARY + b"".join(text.encode() + BOUNDARY for text in texts), np.uint8)


def _text_set(name: str, texts: Sequence[str], kept: Sequence[str], licence: str, source: str) -> TextSet:
    sha256 = hashlib.sha256(stream([*texts, *kept]).tobytes()).hexdigest()
    return TextSet(name=name, sha256=sha256, licence=licence, source=source, texts=tuple(texts), held_out=tuple(kept))


def _file_set(data: str, encoding: str | None) -> TextSet:
    opened = documents.documents(data, Wanted(_SUFFIXES, MAX_FILE_BYTES, _WISH, any_suffix=True, encoding=encoding))
    given = documents.paths(data)
    texts: list[str] = []
    for file in opened.files:
        texts += _texts_of(file)
    notes = list(opened.notes)
    if len(texts) == 1 and len(texts[0].encode()) > LONG:
        size = len(texts[0].encode())
        texts = _cut(texts[0])
        notes.append(
            f"{opened.where} is one text of {size:,} bytes without a line break: cut at white space into "
            f"{len(texts):,} texts of at most {PIECE:,} characters"
        )
    if len(texts) < 2:
        held = f"{opened.where} holds {len(texts)} texts"
        raise DataError(f"{held}, wanted at least 2 (one to learn, one to measure); {_WISH}")
    every = min(held_out.EVERY, len(texts))
    learned = [text for at, text in enumerate(texts, 1) if at % every]
    name = "+".join(path.name for path in given)
    source = ", ".join(path.name for path in given)
    licence = "unknown (user data)"
    found = _text_set(f"{name}-{len(texts)}", learned, texts[every - 1 :: every], licence, source)
    return dataclasses.replace(found, notes=tuple(notes))


def _texts_of(file: Document) -> Iterable[str]:
    raw = file.content()
    if file.suffix in records.READERS:
        return _fields(file.name, records.READERS[file.suffix](raw, file.name))
    if file.suffix in tables.DELIMITERS:
        return _fields(file.name, tables.one_column(raw, file.suffix, file.name, _COLUMNS))
    if BOUNDARY in raw:
        line = raw[: raw.index(BOUNDARY)].count(b"\n") + 1
        raise DataError(f"{file.name} holds the byte 0 in line {line}, which no text may (it divides texts); {_WISH}")
    try:
        return _split(raw.decode())
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        found = f"byte 0x{error.object[error.start]:02x} in line {line}"
        raise DataError(f"{file.name} is not UTF-8: {found}; {decoding.hint(raw)}; {_WISH}") from None


def _fields(name: str, records: Iterable[tuple[int, object]]) -> Iterator[str]:
    """The text of every record: itself, or what it holds under one of the usual names."""
    for at, record in records:
        held = record
        if isinstance(record, Mapping):
            held = next((record[column] for column in _COLUMNS if column in record), None)
        if not isinstance(held, str) or "\0" in held or not _is_whole(held):
            why = f"({record})" if isinstance(record, Unusable) else f"(wanted one in the field {_COLUMNS[0]!r})"
            raise DataError(f"{name}:{at} holds no text {why}: mend it, or give the texts as lines of a .txt file")
        text = "\n".join(_lines(held)).strip()
        if text:
            yield text


def _is_whole(text: str) -> bool:
    return not re.search(r"[\ud800-\udfff]", text)


def _lines(content: str) -> list[str]:
    """Its lines; of many empty ones on end two are left. A form feed begins a page, and so a line."""
    lines: list[str] = []
    for line in io.TextIOWrapper(io.BytesIO(content.encode()), "utf-8"):  # any kind of line break
        for part in line.split("\f"):
            text = part.rstrip()
            if text or any(lines[-2:]) or len(lines) < 2:
                lines.append(text)
    return lines


def _split(content: str) -> list[str]:
    blocks = re.split(r"\n{2,}", "\n".join(_lines(content)).strip("\n"))
    return [text for text in (blocks if len(blocks) > 1 else blocks[0].split("\n")) if text]


def _cut(text: str) -> list[str]:
    """Pieces of at most `PIECE` characters that end at white space where there is some."""
    return [
        piece.strip() for piece in re.findall(rf"(?s).{{1,{PIECE - 1}}}(?:\s|\Z)|.{{{PIECE}}}", text) if piece.strip()
    ]
