"""Everything of one account is deleted: files first, then rows, so that whoever is interrupted finds what is left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, Table, delete, select, update

from gateway.accounts.database import writing
from gateway.accounts.people import Users
from gateway.accounts.store import Store
from gateway.accounts.tables import FILES, GENERATIONS, KEYS
from gateway.data.account import Account, counted, of, tables
from gateway.data.lines import AT_ONCE
from gateway.kept import ResultStore

LAST = ("api_keys", "users")
DELETED = "deleted"  # the name of a key of which nothing is left but its digest, so that it stays refused


def erase(engine: Engine, results: ResultStore, account: Account, said: Callable[[str], None]) -> None:
    """Delete it, a batch a transaction. Once more deletes what came meanwhile. Blocks. Raises `OSError`.

    Its keys end first, for every running gateway. Of a key its digest stays: who holds it is told that it was revoked.
    """
    store, users = Store(engine), Users(engine)
    for key in account.keys:
        store.revoke(key)
    for user in account.ids:
        if users.get(user) is not None:
            users.disable(user)  # sessions end, too
    files = _history(engine, results, account)
    said(f"files: {files}")
    # Keys and then the user come last: without them nobody would know what else was his.
    order = tables()[::-1]
    order.sort(key=lambda table: LAST.index(table.name) if table.name in LAST else -1)
    for table in order:
        ended = table.name == KEYS.name
        with writing(engine) as connection:
            change = update(table).values(_ended(table)) if ended else delete(table)
            count = connection.execute(change.where(of(table, account))).rowcount
        said(f"{table.name}: {count} {'ended' if ended else 'rows'}")


def _ended(keys: Table) -> dict[str, Any]:
    values: dict[str, Any] = {"name": DELETED, "hint": "", "scopes": "", "last_used": None, "user_id": None}
    return {name: value for name, value in values.items() if name in keys.c}


def left(engine: Engine, account: Account) -> dict[str, int]:
    """What is kept of an account: rows by table, ended keys aside."""
    with engine.connect() as connection:
        ended = select(KEYS.c.id).where(KEYS.c.id.in_(account.keys), KEYS.c.name == DELETED)
        gone = len(connection.execute(ended).all())
        found = {table.name: count for table, count in counted(connection, account)}
    found[KEYS.name] -= gone
    return {name: count for name, count in found.items() if count}


def _history(engine: Engine, results: ResultStore, account: Account) -> int:
    files = 0
    mine = GENERATIONS.c.owner.in_(account.ids)
    while True:
        with engine.connect() as connection:
            ids = list(connection.scalars(select(GENERATIONS.c.id).where(mine).limit(AT_ONCE)))
            kept = select(FILES.c.result).where(FILES.c.generation.in_(ids), FILES.c.result.is_not(None))
            names = [str(name) for name in connection.scalars(kept)]
        if not ids:
            return files
        for name in names:
            results.delete(name)
        with writing(engine) as connection:
            connection.execute(delete(FILES).where(FILES.c.generation.in_(ids)))
            connection.execute(delete(GENERATIONS).where(GENERATIONS.c.id.in_(ids)))
        files += len(names)
