"""Pairs from files: JSON lines, or tables with a header row, as they are or packed with gzip.

JSON lines (.jsonl, .ndjson): an object per line; its source is a text or a list of texts, the turns of a conversation.
Tables (.csv, .tsv): a text may hold line breaks if it stands in quotes. Files are UTF-8; runs of white space become one
space. A line that cannot be used is skipped and named.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from training.data import DataError, Fields, Pair

MAX_FILE_BYTES = 250_000_000  # as it is and unpacked
SHOWN = 3  # unusable lines that a message quotes
SHOWN_FIELDS = 12  # and fields that it names
_TABLES = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson")
_WISH = (
    "give files of pairs (.jsonl, .ndjson, .csv or .tsv, each also with .gz) divided by commas, "
    "or 'reports' or 'smalltalk' for the written ones"
)
_TYPES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


@dataclasses.dataclass(frozen=True)
class Lines:
    """The contents of the lines of some files."""

    pairs: tuple[Pair, ...]
    skipped: tuple[str, ...]
    """of lines without a usable pair: `file:line: reason`"""


class _Unusable(ValueError):
    """A line without a pair; the message is the reason."""


def paths(data: str) -> list[Path]:
    """The files that `data` names, divided by commas."""
    return [Path(part.strip()) for part in data.split(",") if part.strip()]


def read(files: Sequence[Path], fields: Fields, most_bad: float) -> Lines:
    """The pairs of all files in their order.

    Raises `DataError` for a file that is missing, too large, damaged or of no known suffix, and if there is no pair or
    more than the share `most_bad` of all lines cannot be used.
    """
    pairs: list[Pair] = []
    skipped: list[str] = []
    names: dict[str, None] = {}  # of the fields where one was missing
    for path in files:
        for at, line in _lines(path):
            try:
                pairs.append(_pair(line, fields, names))
            except _Unusable as error:
                skipped.append(f"{path.name}:{at}: {error}")
    total = len(pairs) + len(skipped)
    if pairs and len(skipped) <= most_bad * total:
        return Lines(tuple(pairs), tuple(skipped))
    where = ", ".join(path.name for path in files) or "the empty name"
    if not total:
        raise DataError(f"{where} holds no pairs; {_WISH}")
    more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
    remedy = f"wanted a text in the field {fields.source!r} and one in {fields.target!r} of every line: mend the lines"
    if names:
        remedy += f" or name other fields (where one is missing there are {_listed(names)})"
    raise DataError(
        f"{len(skipped)} of {total} lines of {where} cannot be used, wanted at most {most_bad:.1%}: "
        f"{'; '.join(skipped[:SHOWN])}{more}; {remedy}"
    )


def _pair(line: object, fields: Fields, names: dict[str, None]) -> Pair:
    if isinstance(line, _Unusable):
        raise line
    if not isinstance(line, Mapping):
        raise _Unusable(f"it is {_type(line)}, wanted an object")
    for field in (fields.source, fields.target):
        if field not in line:
            names.update(dict.fromkeys(str(name) for name in line))
            raise _Unusable(f"there is no field {field!r}")
    source, target = line[fields.source], line[fields.target]
    turns = source if isinstance(source, list) else [source]
    if not turns:
        raise _Unusable(f"the list {fields.source!r} is empty")
    return Pair(tuple(_text(fields.source, turn) for turn in turns), _text(fields.target, target))


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise _Unusable(f"the field {field!r} holds {_type(value)}, wanted a text")
    text = " ".join(value.split())
    if not text:
        raise _Unusable(f"the field {field!r} is empty")
    if "\0" in text:
        raise _Unusable(f"the field {field!r} holds the byte 0")
    if re.search(r"[\ud800-\udfff]", text):  # an escape in JSON can say it, UTF-8 cannot
        raise _Unusable(f"the field {field!r} holds half a character (a lone surrogate)")
    return text


def _lines(path: Path) -> Iterator[tuple[int, object]]:
    """The number of every line that is not empty, and what it holds, or why it cannot be read."""
    if not path.is_file():
        raise DataError(f"--data {path} {'is not a file' if path.exists() else 'does not exist'}; {_WISH}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    suffix = next(iter(suffixes[-2:-1] if suffixes[-1:] == [".gz"] else suffixes[-1:]), "")
    if suffix not in _TABLES and suffix not in _JSON:
        raise DataError(f"the suffix of {path} is {''.join(suffixes[-2:]) or 'missing'}; {_WISH}")
    raw = _content(path, packed=suffixes[-1] == ".gz").removeprefix(b"\xef\xbb\xbf")
    return _json_lines(raw) if suffix in _JSON else _rows(raw, _TABLES[suffix])


def _content(path: Path, packed: bool) -> bytes:
    size = path.stat().st_size
    if size <= MAX_FILE_BYTES:
        if not packed:
            return path.read_bytes()
        try:
            with gzip.open(path) as file:
                raw = file.read(MAX_FILE_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is not a whole gzip file ({error}): pack it again") from None
        if len(raw) <= MAX_FILE_BYTES:
            return raw
    found = f"has {size} bytes" if size > MAX_FILE_BYTES else "is larger unpacked"
    raise DataError(f"{path} {found}, over the limit of {MAX_FILE_BYTES}: give a part of it")


def _json_lines(raw: bytes) -> Iterator[tuple[int, object]]:
    for at, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        held: object
        try:
            held = json.loads(_decoded(line))
        except _Unusable as error:
            held = error
        except RecursionError:
            held = _Unusable("its lists or objects are nested too deeply")
        except json.JSONDecodeError as error:
            held = _Unusable(f"it is not JSON ({error.msg} in column {error.colno})")
        except ValueError as error:  # a number of thousands of digits
            held = _Unusable(f"it cannot be read ({error})")
        yield at, held


def _decoded(line: bytes) -> str:
    if b"\0" in line:
        raise _Unusable("it holds the byte 0")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise _Unusable(f"it is not UTF-8: byte 0x{error.object[error.start]:02x}") from None


def _rows(raw: bytes, delimiter: str) -> Iterator[tuple[int, object]]:
    # Bytes that are not UTF-8 become surrogates at first, so that they cost one row and not the file.
    rows = csv.reader(io.StringIO(raw.decode(errors="surrogateescape"), newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        at = rows.line_num + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield at, _Unusable(f"it is no row of a table ({error})")
            continue
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip() for cell in row]
        else:
            yield at, _record(header, row)


def _record(header: list[str], row: list[str]) -> object:
    try:
        for cell in row:
            _decoded(cell.encode(errors="surrogateescape"))
    except _Unusable as error:
        return error
    if len(row) != len(header):
        return _Unusable(f"it has {len(row)} cells, wanted {len(header)} as in the first row")
    return dict(zip(header, row, strict=True))


def _type(value: object) -> str:
    return _TYPES.get(type(value), "null")


def _listed(names: Mapping[str, None]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:SHOWN_FIELDS])
    return f"{shown} and {len(names) - SHOWN_FIELDS} more" if len(names) > SHOWN_FIELDS else shown
