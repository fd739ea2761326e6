"""API keys, and the counter that tells processes of a revoked one."""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Double, Integer, String

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "api_keys",
        Column("id", String(32), primary_key=True),
        Column("hash", String(64), nullable=False, unique=True),
        Column("hint", String(16), nullable=False),
        Column("name", String(100), nullable=False),
        Column("scopes", String(500), nullable=False),
        Column("created", Double, nullable=False),
        Column("expires", Double),
        Column("revoked", Double),
        Column("last_used", Double),
        Column("requests_a_minute", Integer),
        Column("concurrent", Integer),
        Column("images_a_day", BigInteger),
        Column("tokens_a_day", BigInteger),
        Column("audio_seconds_a_day", BigInteger),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )
    op.create_table(
        "changes",
        Column("subject", String(32), primary_key=True),
        Column("count", BigInteger, nullable=False),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )


def downgrade() -> None:
    """Drop the tables, and every key with them."""
    op.drop_table("changes", if_exists=_commits_each())
    op.drop_table("api_keys", if_exists=_commits_each())


def _commits_each() -> bool:
    """Whether what an interrupted run made is there already: MySQL commits each table at once."""
    return op.get_context().dialect.name == "mysql"
