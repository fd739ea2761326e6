"""What was generated, for the history of whoever asked."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, String, Text, inspect

revision = "0004"
down_revision = "0003"
LONG = 2**24 - 1  # bytes; MySQL takes MEDIUMTEXT for it


def upgrade() -> None:
    """Make the table and its index."""
    op.create_table(
        "generations",
        Column("id", String(32), primary_key=True),
        Column("key_id", String(32), nullable=False),
        Column("model", String(128), nullable=False),
        Column("version", String(64), nullable=False),
        Column("medium", String(16), nullable=False),
        Column("route", String(128), nullable=False),
        Column("asked", Text(LONG), nullable=False),
        Column("receipt", Text(LONG)),
        Column("sha256", String(64)),
        Column("result", String(64)),
        Column("bytes", BigInteger, nullable=False),
        Column("created", Double, nullable=False),
        Column("status", String(16), nullable=False),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )
    # A step that broke off on MySQL may have left the table without it: then it is made here.
    if not _commits_each() or not _has_index():
        op.create_index("generations_by_key", "generations", ["key_id", "created", "id"])


def downgrade() -> None:
    """Drop the table, and the history with it."""
    op.drop_table("generations", if_exists=_commits_each())


def _commits_each() -> bool:
    """Whether what an interrupted run made is there already: MySQL commits each table at once."""
    return op.get_context().dialect.name == "mysql"


def _has_index() -> bool:
    if op.get_context().as_sql:
        return False
    return any(found["name"] == "generations_by_key" for found in inspect(op.get_bind()).get_indexes("generations"))
