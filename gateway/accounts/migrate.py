"""Brings a database to the tables of this version, by one of however many processes start at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.database import DatabaseError, open_database, reason, writing

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

HEAD = "0005"  # compared with the folder by a test; so a start that has nothing to do imports no Alembic
FOLDER = Path(__file__).parent
LOCK_SECONDS = 60  # how long one process waits for another one's migrations
LOCK = "atelier-migrate"


def migrate(url: str, to: str = HEAD) -> list[str]:
    """Go up or down to a revision ("base": no tables); which revisions were run. `DatabaseError` if that cannot be."""
    engine = open_database(url, create=True, wait=LOCK_SECONDS)
    try:
        if to == HEAD:
            with engine.connect() as connection:
                if _current(connection) == HEAD:
                    return []
        with _alone(engine) as connection:
            return _run(connection, to)
    except SQLAlchemyError as error:
        raise DatabaseError(f"database: it cannot be migrated: {reason(error)}") from error
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Where Alembic finds `env.py` and the steps."""
    from alembic.config import Config

    config = Config()
    folders = {"script_location": FOLDER, "version_locations": FOLDER / "migrations"}
    for name, folder in folders.items():
        config.set_main_option(name, str(folder).replace("%", "%%"))
    config.set_main_option("path_separator", "newline")  # the only one that paths do not hold
    return config


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """A transaction that no other process's migrations run beside."""
    with writing(engine, "EXCLUSIVE") as connection:
        if engine.dialect.name != "mysql":
            yield connection
            return
        if connection.scalar(text("SELECT GET_LOCK(:name, :seconds)"), {"name": LOCK, "seconds": LOCK_SECONDS}) != 1:
            raise DatabaseError(f"database: another process has been migrating it for {LOCK_SECONDS} s; wait for it")
        try:
            yield connection
        finally:
            connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": LOCK})


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _run(connection: Connection, to: str) -> list[str]:
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config()
    config.attributes["connection"] = connection
    order = _order(ScriptDirectory.from_config(config))
    here = _current(connection) or "base"
    if here not in order:
        raise DatabaseError(
            f"database: it is at revision {here}, and this version knows {', '.join(order[1:])}: a newer version "
            "made it. Run that one, or let it go down first (python -m gateway keys migrate --to REVISION)"
        )
    if to not in order:
        raise DatabaseError(f"database: there is no revision {to}; wanted one of {', '.join(order)}")
    if order.index(to) > order.index(here):
        command.upgrade(config, to)
        return order[order.index(here) + 1 : order.index(to) + 1]
    if to != here:
        command.downgrade(config, to)
    return order[order.index(to) + 1 : order.index(here) + 1][::-1]


def _order(scripts: ScriptDirectory) -> list[str]:
    """All revisions from the first to the last, after "base", the state without tables."""
    return ["base", *[script.revision for script in scripts.walk_revisions()][::-1]]
