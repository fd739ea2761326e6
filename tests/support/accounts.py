"""Accounts on a database of their own, for tests: a file of SQLite, or one of a real MariaDB where it is in use.

A test names its database by a path in either case. It runs on both by `pytestmark = EACH_DATABASE`, the part of it that
needs the file itself by `@ONLY_SQLITE` on that one alone.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers

from gateway.accounts.auth import Accounts
from gateway.accounts.database import open_database
from gateway.accounts.migrate import HEAD, migrate
from gateway.accounts.store import Store
from gateway.settings import LimitSettings
from tests.support.mariadb import MariaDB

STEPS = [f"{number:04}" for number in range(1, int(HEAD) + 1)]  # the migrations, the oldest first
EACH_DATABASE = pytest.mark.usefixtures("each_database")
ONLY_SQLITE = pytest.mark.parametrize("each_database", ["sqlite"], indirect=True)
ONLY_MARIADB = pytest.mark.parametrize("each_database", [pytest.param("mariadb", marks=pytest.mark.db)], indirect=True)


class InUse:
    """The server on which the running test's databases are; None: they are files."""

    server: MariaDB | None = None


def url_of(path: Path) -> str:
    return f"sqlite:///{path}" if InUse.server is None else InUse.server.url(path)


def store_at(path: Path) -> Store:
    """What the commands use: another connection than the gateway's."""
    migrate(url_of(path))
    return Store(open_database(url_of(path)))


@asynccontextmanager
async def accounts_at(
    path: Path, limits: LimitSettings | None = None, keyless: bool = False
) -> AsyncIterator[Accounts]:
    made = await Accounts.open(url_of(path), limits or LimitSettings(), keyless=keyless)
    try:
        yield made
    finally:
        await made.close()


def bearer(key: str) -> Headers:
    return Headers({"authorization": f"Bearer {key}"})


async def until(condition: Callable[[], bool], what: str) -> None:
    """Wait on the event loop for a condition."""
    for _ in range(1200):
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(what)


def rows(path: Path, query: str) -> list[Any]:
    """What a database holds, past the code under test."""
    if InUse.server is not None:
        with InUse.server.connected(path) as other:
            cursor = other.cursor()
            cursor.execute(query)
            return list(cursor.fetchall())
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(query).fetchall()
        connection.commit()
        return found


@contextmanager
def held(path: Path) -> Iterator[None]:
    """While it lasts, another process writes to the database and does not end."""
    if InUse.server is not None:
        with InUse.server.connected(path) as other:
            other.cursor().execute("FLUSH TABLES WITH READ LOCK")
            yield
            other.cursor().execute("UNLOCK TABLES")
        return
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def sound(path: Path) -> bool:
    """Whether a database finds nothing wrong with itself."""
    if InUse.server is None:
        return rows(path, "pragma integrity_check") == [("ok",)]
    names = ", ".join(name for (name,) in rows(path, "show tables"))
    return {said for *_, said in rows(path, f"check table {names}")} == {"OK"}
