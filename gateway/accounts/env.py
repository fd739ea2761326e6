"""Run by Alembic for every command: uses the connection, and its open transaction, that `migrate.py` hands over."""

from __future__ import annotations

from alembic import context

from gateway.accounts.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite changes a column by making the table anew
)
with context.begin_transaction():
    context.run_migrations()
