"""What each key used of its quotas."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Double, String

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "used",
        Column("key_id", String(32), primary_key=True),
        Column("day", String(10), primary_key=True),
        Column("unit", String(16), primary_key=True),
        Column("amount", Double, nullable=False),
        mysql_charset="utf8mb4",
        mysql_engine="InnoDB",
        if_not_exists=_commits_each(),
    )


def downgrade() -> None:
    """Drop the table; keys and the log stay, and every quota of the day begins again."""
    op.drop_table("used", if_exists=_commits_each())


def _commits_each() -> bool:
    """Whether what an interrupted run made is there already: MySQL commits each table at once."""
    return op.get_context().dialect.name == "mysql"
