"""Data keys are wrapped anew under the current key-encryption key; what they sealed stays as it is.

A batch is a transaction, and what is left is what is not under the current key yet: whoever is interrupted goes on.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Column, Engine, LargeBinary, Table, cast, func, select, update

from gateway.accounts.database import writing
from gateway.accounts.tables import METADATA
from gateway.data.lines import AT_ONCE
from gateway.sealed import Ring, SealError, Wrapped

# Columns of a wrapped data key, and of the id of the key that wrapped it.
PAIRS = (("sealed_key", "sealed_by"), ("text_key", "text_key_by"))


class Rotated(NamedTuple):
    """How many rows are under the current key now, and what kept others from it: by reason, how many."""

    rows: int
    troubles: dict[str, int]


def rotate(engine: Engine, ring: Ring, said: Callable[[str], None]) -> Rotated:
    """Wrap the data keys of all tables under the current key; `said` hears of every batch. Blocks."""
    rows, troubles = 0, dict[str, int]()
    for table in METADATA.sorted_tables:
        for key, by in PAIRS:
            if key in table.c and by in table.c:
                rows += _rotated(engine, ring, (table, table.c[key], table.c[by]), troubles, said)
    return Rotated(rows, troubles)


def _rotated(
    engine: Engine,
    ring: Ring,
    sealed: tuple[Table, Column[Any], Column[Any]],
    troubles: dict[str, int],
    said: Callable[[str], None],
) -> int:
    table, key, by = sealed
    # Compared as bytes: MySQL takes two ids that differ by case alone for the same.
    others = by.is_not(None) & (cast(by, LargeBinary) != ring.current.encode())
    done, last = 0, ""
    with engine.connect() as connection:
        total = connection.scalar(select(func.count()).select_from(table).where(others)) or 0
    while True:
        with writing(engine) as connection:
            query = select(table.c.id, key, by).where(others, table.c.id > last).order_by(table.c.id).limit(AT_ONCE)
            found = connection.execute(query).all()
            for row, wrapped, under in found:
                try:
                    new = ring.rewrap(Wrapped(under, _bytes(wrapped)), row)
                except SealError as error:
                    reason = str(error).replace(f"row {row}", "a row")
                    troubles[reason] = troubles.get(reason, 0) + 1
                    continue
                value = new.key if isinstance(wrapped, bytes) else base64.b64encode(new.key).decode()
                connection.execute(
                    update(table).where(table.c.id == row, by == under).values({key.name: value, by.name: new.by})
                )
                done += 1
        if not found:
            return done
        last = found[-1][0]
        said(f"{table.name}: {done} of {total} rows")


def _bytes(wrapped: str | bytes) -> bytes:
    return wrapped if isinstance(wrapped, bytes) else base64.b64decode(wrapped)
