"""The history of an owner, newest first, and how it is deleted. Every call blocks: call it in threads alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Connection, Engine, RowMapping, and_, delete, or_, select

from gateway.accounts.database import writing
from gateway.accounts.tables import FILES, GENERATIONS
from gateway.sealed import Ring, SealError, Wrapped, unseal

MAX_PAGE = 100
MAX_AT_ONCE = 500  # rows that one transaction deletes, and names that one query asks about
SEALED = ("asked", "receipt", "text")  # fields


class NoSuchGeneration(Exception):
    """Error: this owner has no generation of this id; whether another one has is not told."""


class Page(NamedTuple):
    """Generations, the newest first, and whether there are older ones; the next page comes `after` the last id."""

    rows: list[dict[str, Any]]
    more: bool


class Gone(NamedTuple):
    """How many generations were deleted, and the names of their results, which are to be deleted next."""

    rows: int
    results: list[str]


class History:
    """What owners have had generated; nothing of it is reached but by its owner.

    Rows are plain: `asked` and `receipt` read, `files` a list. What does not open has None in its place, and why is
    its `trouble`.
    """

    def __init__(self, engine: Engine, ring: Ring | None = None) -> None:
        self._engine, self._ring = engine, ring

    def page(self, owner: str, limit: int = 20, after: str | None = None) -> Page:
        """At most `limit` (1 to 100) generations, older than that of an id. Raises `NoSuchGeneration`, `ValueError`."""
        if not 1 <= limit <= MAX_PAGE:
            raise ValueError(f"limit is {limit}: wanted 1 to {MAX_PAGE}")
        table = GENERATIONS.c
        query = select(GENERATIONS).where(table.owner == owner)
        with self._engine.connect() as connection:
            if after is not None:
                last = _found(connection, owner, after)
                older = and_(table.created == last["created"], table.id < after)
                query = query.where(or_(table.created < last["created"], older))
            query = query.order_by(table.created.desc(), table.id.desc()).limit(limit + 1)
            rows = list(connection.execute(query).mappings())
            files = _files(connection, [row["id"] for row in rows[:limit]])
        return Page([self._read(row, files.get(row["id"], [])) for row in rows[:limit]], len(rows) > limit)

    def one(self, owner: str, generation: str) -> dict[str, Any]:
        """One generation; its `asked` is what makes the same again. Raises `NoSuchGeneration`."""
        with self._engine.connect() as connection:
            row = _found(connection, owner, generation)
            return self._read(row, _files(connection, [row["id"]]).get(row["id"], []))

    def opened(self, row: dict[str, Any], index: int, content: bytes) -> bytes:
        """A file of a row as it was sent, from what is kept of it. Raises `SealError`."""
        cipher = self._cipher(row)
        return content if cipher is None else unseal(cipher, content, row["id"], file_field(index))

    def delete(self, owner: str, generation: str) -> Gone:
        """Delete one. Raises `NoSuchGeneration`."""
        with writing(self._engine) as connection:
            return _deleted(connection, [_found(connection, owner, generation)["id"]])

    def clear(self, owner: str) -> Gone:
        """Delete at most `MAX_AT_ONCE` of an owner's; none are left when none were deleted."""
        with writing(self._engine) as connection:
            query = select(GENERATIONS.c.id).where(GENERATIONS.c.owner == owner).limit(MAX_AT_ONCE)
            return _deleted(connection, list(connection.scalars(query)))

    def expire(self, before: float) -> Gone:
        """Delete at most `MAX_AT_ONCE` of those that were made before a time (seconds since 1970)."""
        with writing(self._engine) as connection:
            query = select(GENERATIONS.c.id).where(GENERATIONS.c.created < before).limit(MAX_AT_ONCE)
            return _deleted(connection, list(connection.scalars(query)))

    def orphans(self, names: Sequence[str]) -> list[str]:
        """Those of some names of results (at most `MAX_AT_ONCE`) that no row has."""
        with self._engine.connect() as connection:
            known = set(connection.scalars(select(FILES.c.result).where(FILES.c.result.in_(names))))
        return [name for name in names if name not in known]

    def _read(self, row: RowMapping, files: list[dict[str, Any]]) -> dict[str, Any]:
        found = {**row, "files": files, "trouble": None}
        try:
            cipher = self._cipher(found)
            for field in SEALED:
                if cipher is not None and found[field] is not None:
                    found[field] = unseal(cipher, base64.b64decode(found[field]), found["id"], field).decode()
        except SealError as error:
            return {**found, **dict.fromkeys(SEALED), "trouble": str(error)}
        receipt = found["receipt"]
        return {
            **found,
            "asked": json.loads(found["asked"]),
            "receipt": None if receipt is None else json.loads(receipt),
        }

    def _cipher(self, row: dict[str, Any]) -> AESGCM | None:
        if row["sealed_key"] is None:
            return None
        if self._ring is None:
            raise SealError(
                f"row {row['id']} was sealed under key {row['sealed_by']}, and no file of keys is set: "
                "set encryption_keys to the one that has it"
            )
        wrapped = Wrapped(row["sealed_by"], base64.b64decode(row["sealed_key"]))
        return AESGCM(self._ring.unwrap(wrapped, row["id"]))


def file_field(index: int) -> str:
    """The field that a file is sealed as."""
    return f"file {index}"


def _found(connection: Connection, owner: str, generation: str) -> RowMapping:
    query = select(GENERATIONS).where(GENERATIONS.c.id == generation, GENERATIONS.c.owner == owner)
    row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NoSuchGeneration(f"your history has no generation {generation[:40]!r}: it was deleted, or never was")
    return row


def _files(connection: Connection, generations: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    query = select(FILES).where(FILES.c.generation.in_(list(generations))).order_by(FILES.c.generation, FILES.c.index)
    found: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(query).mappings():
        found.setdefault(row["generation"], []).append(dict(row))
    return found


def _deleted(connection: Connection, generations: list[str]) -> Gone:
    if not generations:
        return Gone(0, [])
    names = select(FILES.c.result).where(FILES.c.generation.in_(generations), FILES.c.result.is_not(None))
    results = [str(name) for name in connection.scalars(names)]
    connection.execute(delete(FILES).where(FILES.c.generation.in_(generations)))
    connection.execute(delete(GENERATIONS).where(GENERATIONS.c.id.in_(generations)))
    return Gone(len(generations), results)
