"""Records from the bytes of JSON lines, JSON documents and Parquet files: `(place, record)`, or why it cannot be read.

A place is the number of a line, or of a row. Everything is read piece by piece: a record at a time is a Python object.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from training.data import DataError, Unusable

_LINE = re.compile(rb"\S[^\n]*")
_SPACE = re.compile(r"[\s,]*")
_BATCH = 256  # rows of a Parquet file that are Python objects at once


def json_lines(raw: bytes, name: str) -> Iterator[tuple[int, object]]:
    """The lines that are not empty. A file that is one list, whatever its suffix says, is read as a document."""
    if raw.lstrip()[:1] == b"[" and _is_one_list(raw):
        yield from json_document(raw, name)
        return
    twice: list[str] = []
    decoder = _decoder(twice)
    at, before = 1, 0
    for match in _LINE.finditer(raw):
        at, before = at + raw.count(b"\n", before, match.start()), match.start()
        begin = raw.rfind(b"\n", 0, match.start()) + 1  # columns are counted from the line's beginning
        yield at, _line(raw[begin : match.end()], decoder, twice)


def json_document(raw: bytes, name: str) -> Iterator[tuple[int, object]]:
    """The items of a list, the objects that follow each other, or the items of the one list that an object holds."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        yield from json_lines(raw, name)
        return
    twice: list[str] = []
    decoder = _decoder(twice)
    position = _after_space(text, 0)
    is_list = text[position : position + 1] == "["
    position = _after_space(text, position + is_list)
    at, counted, alone = 1, 0, True
    while position < len(text) and not (is_list and text[position] == "]"):
        at, counted = at + text.count("\n", counted, position), position
        try:
            held, position = decoder.raw_decode(text, position)
        except RecursionError:
            raise DataError(f"{name}: lists or objects in line {at} are nested too deeply") from None
        except ValueError as error:
            found = f"line {getattr(error, 'lineno', at)} on ({getattr(error, 'msg', error)})"
            raise DataError(f"{name} is not JSON from {found}: mend it, or give JSON lines") from None
        position = _after_space(text, position)
        if not is_list and alone and position == len(text) and (inner := _only_list(held)) is not None and not twice:
            yield from ((at, item) for item in inner)
            return
        alone = False
        yield at, _checked(held, twice)
    if is_list and position == len(text):
        raise DataError(f"{name} ends within a list (after line {at}): it is cut off, get it again")


def parquet(raw: bytes, name: str) -> Iterator[tuple[int, object]]:
    """The rows of a Parquet file, counted from 1. Raises `DataError` if it is damaged or pyarrow is not there."""
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        remedy = "run requirements/install.sh, or save it as JSON lines (.jsonl)"
        raise DataError(f"{name} needs the package pyarrow, which is not installed: {remedy}") from None
    try:
        file = ParquetFile(io.BytesIO(raw))
        refuse_twice(file.schema_arrow.names, name)
        at = 0
        for batch in file.iter_batches(batch_size=_BATCH):
            for row in batch.to_pylist():
                at += 1
                yield at, row
    except (ArrowException, OSError) as error:
        raise DataError(f"{name} is no whole Parquet file ({error}): write it again") from None


def refuse_twice(names: list[str], name: str) -> None:
    """Raise `DataError` if a column has the name of another one."""
    for column in names:
        if column and names.count(column) > 1:
            raise DataError(f"{name} has {names.count(column)} columns called {column!r}: rename all but one of them")


def decoded(line: bytes) -> str:
    """A line as text. Raises `Unusable`."""
    if b"\0" in line:
        raise Unusable("it holds the byte 0")
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise Unusable(f"it is not UTF-8: byte 0x{error.object[error.start]:02x}") from None


def _line(line: bytes, decoder: json.JSONDecoder, twice: list[str]) -> object:
    try:
        return _checked(decoder.decode(decoded(line)), twice)
    except Unusable as error:
        return error
    except RecursionError:
        return Unusable("its lists or objects are nested too deeply")
    except json.JSONDecodeError as error:
        return Unusable(f"it is not JSON ({error.msg} in column {error.colno})")
    except ValueError as error:  # a number of thousands of digits
        return Unusable(f"it cannot be read ({error})")
    finally:
        twice.clear()


def _decoder(twice: list[str]) -> json.JSONDecoder:
    """A decoder that adds to `twice` the keys that an object has more than once."""

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) < len(pairs):
            keys = [key for key, _ in pairs]
            twice.append(next(key for key in keys if keys.count(key) > 1))
        return held

    return json.JSONDecoder(object_pairs_hook=object_of)


def _checked(held: object, twice: list[str]) -> object:
    if not twice:
        return held
    key = twice[0]
    twice.clear()
    return Unusable(f"the key {key!r} comes twice in one object")


def _only_list(held: object) -> list[Any] | None:
    """The records of an object like {"data": [...]}; None if it is a record itself."""
    if not isinstance(held, dict) or len(held) > 3:
        return None
    lists = [value for value in held.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    chat = lists and {"role", "from"} & lists[0][0].keys()  # the turns of one conversation
    return lists[0] if len(lists) == 1 and not chat else None


def _after_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def _is_one_list(raw: bytes) -> bool:
    """Whether a list goes on over all lines, and is not one of many records."""
    first, _, rest = raw.strip().partition(b"\n")
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return True
    return not rest


READERS: dict[str, Callable[[bytes, str], Iterator[tuple[int, object]]]] = {
    ".jsonl": json_lines,
    ".ndjson": json_lines,
    ".json": json_document,
    ".parquet": parquet,
}
