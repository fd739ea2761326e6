"""The history of one key, newest first, and its deletion. Every call blocks: from the event loop, in a thread alone."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import Engine, RowMapping, and_, delete, or_, select

from gateway.accounts.database import writing
from gateway.accounts.tables import GENERATIONS

MAX_PAGE = 100


class NoSuchGeneration(Exception):
    """Error: this key has no generation of this id; whether another key has is not told."""


class Page(NamedTuple):
    """Generations, the newest first, and whether there are older ones; the next page comes `after` the last id."""

    rows: list[dict[str, Any]]
    more: bool


class History:
    """What keys have generated; nothing of it is reached but by the id of its key."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def page(self, key_id: str, limit: int = 20, after: str | None = None) -> Page:
        """At most `limit` (1 to 100) generations, older than that of an id. Raises `NoSuchGeneration`, `ValueError`."""
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit is {limit}: wanted 1 to {MAX_PAGE}")
        table = GENERATIONS.c
        query = select(GENERATIONS).where(table.key_id == key_id)
        if after is not None:
            last = self.one(key_id, after)
            older = and_(table.created == last["created"], table.id < after)
            query = query.where(or_(table.created < last["created"], older))
        query = query.order_by(table.created.desc(), table.id.desc()).limit(limit + 1)
        with self._engine.connect() as connection:
            rows = [_read(row) for row in connection.execute(query).mappings()]
        return Page(rows[:limit], len(rows) > limit)

    def one(self, key_id: str, generation: str) -> dict[str, Any]:
        """One generation; its `asked` is what makes the same again. Raises `NoSuchGeneration`."""
        with self._engine.connect() as connection:
            query = select(GENERATIONS).where(GENERATIONS.c.id == generation, GENERATIONS.c.key_id == key_id)
            row = connection.execute(query).mappings().one_or_none()
        if row is None:
            raise NoSuchGeneration(f"your history has no generation {generation[:40]!r}: it was deleted, or never was")
        return _read(row)

    def delete(self, key_id: str, generation: str) -> str | None:
        """Delete a row; the name of its result, which its caller deletes next. Raises `NoSuchGeneration`."""
        found: str | None = self.one(key_id, generation)["result"]
        with writing(self._engine) as connection:
            connection.execute(
                delete(GENERATIONS).where(GENERATIONS.c.id == generation, GENERATIONS.c.key_id == key_id)
            )
        return found


def _read(row: RowMapping) -> dict[str, Any]:
    return {**row, "asked": json.loads(row["asked"])}
