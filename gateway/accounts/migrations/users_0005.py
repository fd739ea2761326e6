"""Users, their sessions, and whose a key is."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, String, inspect

revision = "0005"
down_revision = "0004"
INDEXES = {"users_by_subject": ("users", ["subject"]), "sessions_by_user": ("sessions", ["user_id"])}


def upgrade() -> None:
    """Make the tables; the keys that are there belong to no user."""
    op.create_table(
        "users",
        Column("id", String(32), primary_key=True),
        Column("name", String(100), nullable=False),
        Column("folded", String(200), nullable=False, unique=True),
        Column("role", String(16), nullable=False),
        Column("password", String(200)),
        Column("issuer", String(200)),
        Column("subject", String(200)),
        Column("created", Double, nullable=False),
        Column("disabled", Double),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )
    op.create_table(
        "sessions",
        Column("id", String(32), primary_key=True),
        Column("hash", String(64), nullable=False, unique=True),
        Column("user_id", String(32), nullable=False),
        Column("agent", String(200), nullable=False),
        Column("created", Double, nullable=False),
        Column("seen", Double, nullable=False),
        Column("expires", Double, nullable=False),
        Column("revoked", Double),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )
    # A step that broke off on MySQL may have left a part of them: then the rest is made here.
    for name, (table, columns) in INDEXES.items():
        if not _commits_each() or name not in _names("indexes", table):
            op.create_index(name, table, columns)
    if not _commits_each() or "user_id" not in _names("columns", "api_keys"):
        op.add_column("api_keys", Column("user_id", String(32)))


def downgrade() -> None:
    """Drop the tables; keys stay, and belong to nobody."""
    if not _commits_each() or "user_id" in _names("columns", "api_keys"):
        op.drop_column("api_keys", "user_id")
    op.drop_table("sessions", if_exists=_commits_each())
    op.drop_table("users", if_exists=_commits_each())


def _commits_each() -> bool:
    """Whether what an interrupted run made is there already: MySQL commits each table at once."""
    return op.get_context().dialect.name == "mysql"


def _names(kind: str, table: str) -> set[str]:
    """Of the indexes or columns that are there."""
    if op.get_context().as_sql:
        return set()
    found = inspect(op.get_bind())
    return {str(one["name"]) for one in (found.get_indexes(table) if kind == "indexes" else found.get_columns(table))}
