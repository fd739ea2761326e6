"""What was generated, for the history of whoever asked, and the files of it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, String, Text, inspect

revision = "0004"
down_revision = "0003"
LONG = 2**24 - 1  # bytes; MySQL takes MEDIUMTEXT for it
INDEXES = {
    "generations_by_owner": ("generations", ["owner", "created", "id"]),
    "generations_by_age": ("generations", ["created"]),
    "files_by_sha256": ("files", ["sha256"]),
    "files_by_sent_sha256": ("files", ["sent_sha256"]),
    "files_by_result": ("files", ["result"]),
}


def upgrade() -> None:
    """Make the tables and their indexes."""
    op.create_table(
        "generations",
        Column("id", String(32), primary_key=True),
        Column("owner", String(32), nullable=False),
        Column("model", String(128), nullable=False),
        Column("version", String(64), nullable=False),
        Column("medium", String(16), nullable=False),
        Column("route", String(128), nullable=False),
        Column("job", String(40)),
        Column("asked", Text(LONG), nullable=False),
        Column("receipt", Text(LONG)),
        Column("text", Text(LONG)),
        Column("sealed_by", String(32)),
        Column("sealed_key", String(128)),
        Column("created", Double, nullable=False),
        Column("status", String(16), nullable=False),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )
    op.create_table(
        "files",
        Column("generation", String(32), primary_key=True),
        Column("index", Integer, primary_key=True, autoincrement=False),
        Column("sha256", String(64), nullable=False),
        Column("sent_sha256", String(64), nullable=False),
        Column("phash", String(32)),
        Column("result", String(64)),
        Column("bytes", BigInteger, nullable=False),
        Column("content_type", String(64), nullable=False),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )
    # A step that broke off on MySQL may have left a table without some of them: then they are made here.
    for name, (table, columns) in INDEXES.items():
        if not _commits_each() or not _has_index(table, name):
            op.create_index(name, table, columns)


def downgrade() -> None:
    """Drop the tables, and the history with them."""
    op.drop_table("files", if_exists=_commits_each())
    op.drop_table("generations", if_exists=_commits_each())


def _commits_each() -> bool:
    """Whether what an interrupted run made is there already: MySQL commits each table at once."""
    return op.get_context().dialect.name == "mysql"


def _has_index(table: str, name: str) -> bool:
    if op.get_context().as_sql:
        return False
    return any(found["name"] == name for found in inspect(op.get_bind()).get_indexes(table))
