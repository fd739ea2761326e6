"""Rows as JSON lines, and back: one object a row, columns by name, bytes as `{"base64": ...}`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import IO, Any

from sqlalchemy import Connection, Double, Float, MetaData, Select, Table

AT_ONCE = 500  # rows in memory


def line(row: Mapping[str, Any]) -> bytes:
    """A row as a line. Raises `TypeError` for a value of a sort that no table has."""
    return json.dumps(dict(row), ensure_ascii=True, separators=(",", ":"), default=_bytes).encode() + b"\n"


def row_of(text: bytes) -> dict[str, Any]:
    """A line as a row. Raises `ValueError`."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("wanted an object")
    return {name: _back(value) for name, value in found.items()}


def streamed(connection: Connection, query: Select[Any]) -> Iterator[dict[str, Any]]:
    """The rows of a query, a few of them in memory at once."""
    with connection.execution_options(stream_results=True, yield_per=AT_ONCE).execute(query) as found:
        for row in found.mappings():
            yield dict(row)


def batches(file: IO[bytes]) -> Iterator[list[dict[str, Any]]]:
    """The rows of a file of lines, some at once."""
    batch: list[dict[str, Any]] = []
    for text in file:
        batch.append(row_of(text))
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def reflected(connection: Connection) -> list[Table]:
    """The tables as they are there, those that others refer to first; numbers come as they are stored."""
    found = MetaData()
    found.reflect(connection)
    for table in found.sorted_tables:
        for column in table.columns:
            if isinstance(column.type, Float):
                column.type = Double()  # MySQL's own comes as a decimal with ten digits behind its point, and no more
    return found.sorted_tables


def _bytes(value: object) -> dict[str, str]:
    if isinstance(value, bytes):
        return {"base64": base64.b64encode(value).decode()}
    raise TypeError(f"a value of {type(value).__name__} is in no table: {value!r:.60}")


def _back(value: Any) -> Any:
    return base64.b64decode(value["base64"], validate=True) if isinstance(value, dict) else value
