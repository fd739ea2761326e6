"""What moderation decided."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, LargeBinary, String, inspect

revision = "0006"
down_revision = "0005"
TABLE, INDEX = "moderation_decisions", "moderation_decisions_by_time"
LONG = 2**24 - 1  # bytes; MySQL takes MEDIUMBLOB for it


def upgrade() -> None:
    """Make the table and its index."""
    op.create_table(
        TABLE,
        Column("id", String(32), primary_key=True),
        Column("request_id", String(64), nullable=False),
        Column("owner", String(32), nullable=False),
        Column("route", String(128), nullable=False),
        Column("category", String(32), nullable=False),
        Column("rule", String(64), nullable=False),
        Column("action", String(16), nullable=False),
        Column("stage", String(16), nullable=False),
        Column("created", Double, nullable=False),
        Column("text", LargeBinary(LONG)),
        Column("text_key", LargeBinary(255)),
        Column("text_key_by", String(32)),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )
    # A step that broke off on MySQL may have left the table without it: then it is made here.
    if not _commits_each() or not _has_index():
        op.create_index(INDEX, TABLE, ["created", "id"])


def downgrade() -> None:
    """Drop the table, and the decisions with it."""
    op.drop_table(TABLE, if_exists=_commits_each())


def _commits_each() -> bool:
    """Whether what an interrupted run made is there already: MySQL commits each table at once."""
    return op.get_context().dialect.name == "mysql"


def _has_index() -> bool:
    if op.get_context().as_sql:
        return False
    return any(found["name"] == INDEX for found in inspect(op.get_bind()).get_indexes(TABLE))
