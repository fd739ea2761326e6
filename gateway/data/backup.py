"""A backup: a folder of the database, of the results, and of a manifest with the digest of each file, written last.

A SQLite database is copied as a file by its own means, while a gateway uses it; one of MySQL as JSON lines, a file a
table, in one transaction. The keys of encryption at rest are not in it: keep their file elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, NamedTuple
from urllib.parse import quote

from sqlalchemy import Engine, make_url, select

from gateway.accounts.database import BUSY_SECONDS, DatabaseError, open_database
from gateway.accounts.migrate import revision
from gateway.data.lines import line, reflected, streamed
from gateway.kept import NoSuchResult, ResultStore

MANIFEST, DATABASE, ROWS, RESULTS = "manifest.json", "database.sqlite", "rows", "results"
FORMAT = 1
STATEMENT_SECONDS = 600.0  # that MySQL may take for one
PAGES = 1000  # of SQLite, that are copied at once; between them a gateway writes


class Backup(NamedTuple):
    """How many files it has, and how many bytes these have; its manifest aside."""

    files: int
    bytes: int


def backup(url: str, results: ResultStore, to: Path, said: Callable[[str], None]) -> Backup:
    """Write one to a folder that is not there yet, whole or not at all. Blocks. Raises `OSError`, `DatabaseError`."""
    if to.exists():
        raise FileExistsError(f"{to} is there already; name a folder that is not")
    part = to.absolute().with_name(f"{to.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a backup that was killed
    part.mkdir(mode=0o700, parents=True)
    try:
        writer = Writer(part)
        engine = open_database(url, wait=max(BUSY_SECONDS, STATEMENT_SECONDS))
        try:
            with engine.connect() as connection:
                at = revision(connection)
            if at is None:
                raise DatabaseError("database: it has no tables yet, so there is nothing to back up")
            kind = _database(url, engine, writer)
        finally:
            engine.dispose()
        said(f"database: at revision {at}, {writer.bytes} bytes")
        _results(results, writer, said)
        made = Backup(len(writer.files), writer.bytes)
        about = {"format": FORMAT, "database": kind, "revision": at, "created": time.time(), "files": writer.files}
        with writer.file(MANIFEST) as file:
            file.write(json.dumps(about, indent=1).encode())
        _settle(part)
        part.rename(to)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return made


class Writer:
    """Writes files below a folder, each on disk when it is closed, and knows their digests and sizes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bytes = folder, 0
        self.files: dict[str, dict[str, str | int]] = {}

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """A new file, for this user alone."""
        path = self.folder / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        self.add(name)

    def add(self, name: str) -> None:
        """Take down a file that lies there."""
        digest, size = digest_of(self.folder / name)
        self.files[name] = {"sha256": digest, "bytes": size}
        self.bytes += size


def digest_of(path: Path) -> tuple[str, int]:
    """The SHA-256 of a file in hex, and its size."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size


def _database(url: str, engine: Engine, writer: Writer) -> str:
    """Copy it; of which kind the copy is."""
    if engine.dialect.name == "sqlite":
        copy = writer.folder / DATABASE
        source = make_url(url).database
        os.close(os.open(copy, os.O_CREAT | os.O_EXCL, 0o600))
        live_url = f"file:{quote(str(source))}?mode=ro"
        with closing(sqlite3.connect(live_url, uri=True)) as live, closing(sqlite3.connect(copy)) as into:
            live.backup(into, pages=PAGES, sleep=0.01)
            into.execute("PRAGMA journal_mode=DELETE")  # one file, without a log beside it
        writer.add(DATABASE)
        return "sqlite"
    with engine.connect() as connection:
        # InnoDB shows one transaction one state of all tables, whatever others write meanwhile.
        for table in reflected(connection):
            with writer.file(f"{ROWS}/{table.name}.jsonl") as file:
                for row in streamed(connection, select(table).order_by(*table.primary_key.columns)):
                    file.write(line(row))
    return "rows"


def _results(results: ResultStore, writer: Writer, said: Callable[[str], None]) -> None:
    """Those that are there now: what the database names is among them, but for what was deleted meanwhile."""
    count = 0
    for kept in results.list():
        try:
            content = results.get(kept.name)
        except NoSuchResult:
            continue
        with writer.file(f"{RESULTS}/{kept.name}") as file:
            file.write(content)
        count += 1
        if count % 1000 == 0:
            said(f"results: {count}")
    said(f"results: {count}")


def _settle(folder: Path) -> None:
    """The names in its folders are on disk, too."""
    for path in (folder, *(found for found in folder.iterdir() if found.is_dir())):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
