"""The log of requests."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, Integer, String

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "audit",
        Column("id", String(32), primary_key=True),
        Column("request_id", String(64), nullable=False),
        Column("key_id", String(32), nullable=False),
        Column("route", String(128), nullable=False),
        Column("status", Integer, nullable=False),
        Column("started", Double, nullable=False),
        Column("seconds", Double, nullable=False),
        Column("images", Double, nullable=False),
        Column("tokens", Double, nullable=False),
        Column("audio_seconds", Double, nullable=False),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )


def downgrade() -> None:
    """Drop the table; keys stay."""
    op.drop_table("audit", if_exists=_commits_each())


def _commits_each() -> bool:
    """Whether what an interrupted run made is there already: MySQL commits each table at once."""
    return op.get_context().dialect.name == "mysql"
