"""The counter that tells other processes that a key or a session ended."""

from __future__ import annotations

from sqlalchemy import Connection, insert, update

from gateway.accounts.tables import CHANGES

REVOKED = "revoked"  # its subject


def tell(connection: Connection) -> None:
    """Count one more, within a transaction that ends something."""
    count = update(CHANGES).where(CHANGES.c.subject == REVOKED).values(count=CHANGES.c.count + 1)
    if not connection.execute(count).rowcount:
        connection.execute(insert(CHANGES), {"subject": REVOKED, "count": 1})
