"""A database by its URL: SQLite in WAL mode, or whatever speaks MySQL's protocol."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, NoSuchModuleError

WANTED = "wanted: sqlite:///FOLDER/FILE or mysql+pymysql://USER:PASSWORD@HOST/DATABASE"
DEFAULT_DATABASE = "sqlite:///artifacts/gateway/gateway.db"
CONNECTIONS = 6  # look-ups, the writer, the watcher
CONNECT_SECONDS = 2  # for which MySQL is waited for
BUSY_SECONDS = 5.0  # how long a statement waits for another process's transaction, and on MySQL for its answer


class DatabaseError(Exception):
    """A database that cannot be used; the message is for its operator."""


def open_database(url: str, *, create: bool = False, wait: float = BUSY_SECONDS) -> Engine:
    """An engine for a URL. A SQLite file must be there unless `create`: what vanished is not replaced in silence."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise DatabaseError(f"database: the URL cannot be read; {WANTED}") from None
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, create, wait)
    if parsed.get_backend_name() != "mysql":
        raise DatabaseError(f"database: {parsed.drivername} is not known; {WANTED}")
    try:
        timeouts = {"connect_timeout": CONNECT_SECONDS, "read_timeout": wait, "write_timeout": wait}
        return create_engine(parsed, pool_pre_ping=True, pool_size=CONNECTIONS, max_overflow=0, connect_args=timeouts)
    except (ImportError, NoSuchModuleError) as error:
        raise DatabaseError(
            f"database: {parsed.drivername} needs a package that is not there ({error}): pip install PyMySQL"
        ) from None


@contextmanager
def writing(engine: Engine, begin: str = "IMMEDIATE") -> Iterator[Connection]:
    """A transaction that writes: on SQLite it takes the lock at once, so it never has to begin again."""
    with engine.connect().execution_options(atelier_begin=begin) as connection, connection.begin():
        yield connection


def reason(error: Exception) -> str:
    """What a driver said, in a line, for its operator: it may name hosts and files."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return " ".join(str(said).split())[:200] or type(said).__name__


def told(error: Exception) -> str:
    """The same for everybody."""
    return "its disk is full" if "full" in reason(error) else "it does not answer"


def _sqlite(url: URL, create: bool, wait: float) -> Engine:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise DatabaseError(f"database: {url.render_as_string()} names no file, so keys would not last; {WANTED}")
    path = Path(url.database).absolute()
    if create:
        _make(path)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(path))}?mode=rw", uri=True, timeout=wait, isolation_level=None, check_same_thread=False
        )
        try:
            _write_ahead(connection, wait)
            connection.execute("PRAGMA synchronous=FULL")  # a committed row outlives a power cut, too
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        "sqlite://", creator=connect, poolclass=QueuePool, pool_pre_ping=True, pool_size=CONNECTIONS, max_overflow=0
    )

    @event.listens_for(engine, "connect")
    def _remember(_: Any, record: Any) -> None:
        record.info["file"] = _identity(path)

    @event.listens_for(engine, "checkout")
    def _same_file(_: Any, record: Any, __: Any) -> None:
        # A connection to a file that was removed or replaced would go on reading and writing what nobody else sees.
        if record.info["file"] != _identity(path):
            raise DisconnectionError(f"{path} is another file than before")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('atelier_begin', 'DEFERRED')}")

    return engine


def _make(path: Path) -> None:
    """An empty file that this user alone may read, in folders likewise, unless it is there."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise DatabaseError(
            f"database: {path} cannot be made ({error.strerror}); name another file (setting database, or --database)"
        ) from None


def _write_ahead(connection: sqlite3.Connection, wait: float) -> None:
    """Switch to WAL. SQLite itself does not wait for the lock of this switch, so of two starts one would fail."""
    until = time.monotonic() + wait
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
