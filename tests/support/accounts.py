"""Accounts on a database of their own, for tests."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers

from gateway.accounts.auth import Accounts
from gateway.accounts.database import open_database
from gateway.accounts.migrate import migrate
from gateway.accounts.store import Store
from gateway.settings import LimitSettings


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


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
    """What the file holds, by SQLite's own module."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()
