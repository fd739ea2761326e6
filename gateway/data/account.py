"""Everything of one account: which rows of which table, and the files that belong to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, Table, func, or_, select

from gateway.accounts.tables import FILES, GENERATIONS, METADATA

OWN = ("users", "api_keys")  # tables whose rows are an account, or a part of it, by their `id`
BY = ("owner", "user_id", "key_id")  # columns that name an account
NOBODYS = ("changes",)  # tables that say nothing of anybody; a test looks that there are no others
# Columns that would let their reader in, or open what is sealed; an export does not have them.
SECRET = (
    "hash",
    "password",
    "password_hash",
    "secret",
    "token",
    "csrf",
    "sealed_key",
    "sealed_by",
    "text_key",
    "text_key_by",
)


class NoSuchAccount(Exception):
    """Error: no user or key has this id, and nothing of it is kept."""


class Account(NamedTuple):
    """An account by its id, and by the ids of its keys."""

    id: str
    ids: frozenset[str]
    keys: tuple[str, ...]


def account_of(engine: Engine, *, user: str | None = None, key: str | None = None) -> Account:
    """The account of a user with all keys of his, or that of one key. Raises `NoSuchAccount`."""
    keys = METADATA.tables["api_keys"].c
    with engine.connect() as connection:
        if user is not None:
            owned = list(connection.scalars(select(keys.id).where(keys.user_id == user))) if "user_id" in keys else []
            found = Account(user, frozenset([user, *owned]), tuple(owned))
        else:
            assert key is not None
            row = connection.execute(select(*keys).where(keys.id == key)).mappings().one_or_none()
            owner = None if row is None else row.get("user_id")
            if owner is not None:
                raise NoSuchAccount(f"key {key} is one of user {owner}, whose account it is: name that, --user {owner}")
            found = Account(key, frozenset([key]), () if row is None else (key,))
        if not any(count for _, count in counted(connection, found)):
            what = "user" if user is not None else "key"
            raise NoSuchAccount(f"no {what} has the id {found.id!r}, and nothing of one is kept")
    return found


def tables() -> list[Table]:
    """The tables that have rows of accounts, those that others refer to first."""
    return [table for table in METADATA.sorted_tables if table.name not in NOBODYS]


def of(table: Table, account: Account) -> ColumnElement[bool]:
    """Which of a table's rows are an account's."""
    if table.name == FILES.name:
        mine = select(GENERATIONS.c.id).where(GENERATIONS.c.owner.in_(account.ids))
        return table.c.generation.in_(mine)
    names = [name for name in BY if name in table.c]
    if table.name in OWN:
        names.append("id")
    if not names:
        raise LookupError(f"table {table.name} has no column {', '.join(BY)}, and is not among NOBODYS of account.py")
    return or_(*(table.c[name].in_(account.ids) for name in names))


def counted(connection: Connection, account: Account) -> Iterator[tuple[Table, int]]:
    """How many rows an account has in each table."""
    for table in tables():
        yield table, connection.scalar(select(func.count()).select_from(table).where(of(table, account))) or 0


def public(row: dict[str, Any]) -> dict[str, Any]:
    """A row without its secrets."""
    return {name: value for name, value in row.items() if name not in SECRET}
