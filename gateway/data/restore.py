"""A backup becomes a database and results again, in a place that has none; every digest is checked before."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, insert, make_url, select

from gateway.accounts.database import BUSY_SECONDS, DatabaseError, open_database, writing
from gateway.accounts.migrate import VERSION, known, migrate
from gateway.data.backup import DATABASE, FORMAT, MANIFEST, RESULTS, ROWS, STATEMENT_SECONDS, digest_of
from gateway.data.lines import batches, reflected
from gateway.kept import NAME, ResultStore

_FILE = re.compile(rf"{DATABASE}|{ROWS}/[a-z_]+\.jsonl|{RESULTS}/{NAME.pattern}")
_KINDS = ("sqlite", "rows")
MADE = "`python -m gateway data backup` made none of this; take another backup"


class RestoreError(Exception):
    """Error: a folder that is no whole backup, or a place that is not empty; nothing was changed."""


class Manifest(NamedTuple):
    """What a backup says of itself: the kind of its database, its revision, and SHA-256 and size of each file."""

    kind: str
    revision: str
    files: dict[str, tuple[str, int]]


def restore(url: str, results: ResultStore, source: Path, said: Callable[[str], None]) -> Manifest:
    """Put it back: results first, the database last. Blocks. Raises `RestoreError`, `OSError`, `DatabaseError`.

    Results of this backup that are there already are taken as they are, so whoever was interrupted may go on.
    """
    manifest = read_manifest(source)
    _check(source, manifest)
    said(f"backup: {len(manifest.files)} files, each as it was written")
    sqlite = make_url(url).get_backend_name() == "sqlite"
    if manifest.kind == "sqlite" and not sqlite:
        raise RestoreError(f"{source} is of a SQLite database, and {make_url(url).drivername} was named: name a file")
    if manifest.revision not in known():
        raise RestoreError(
            f"{source} is at revision {manifest.revision}, and this version knows {', '.join(known()[1:])}: a newer "
            "version made it, restore it with that"
        )
    _empty(url, sqlite)
    _put(results, source, manifest, said)
    if manifest.kind == "sqlite":
        _file(Path(make_url(url).database or ""), source / DATABASE)
    else:
        _rows(url, source, manifest)
    said(f"database: at revision {manifest.revision}; the next start brings it up to date")
    return manifest


def read_manifest(source: Path) -> Manifest:
    """The manifest of a backup. Raises `RestoreError`."""
    path = source / MANIFEST
    try:
        found = json.loads(path.read_bytes())
        if found["format"] != FORMAT:
            raise RestoreError(f"{path} has format {found['format']!r:.40}, this version reads {FORMAT}")
        files = {name: (str(about["sha256"]), int(about["bytes"])) for name, about in found["files"].items()}
        manifest = Manifest(str(found["database"]), str(found["revision"]), files)
    except FileNotFoundError:
        raise RestoreError(f"{source} has no {MANIFEST}, so it is no backup, or one that was not finished") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RestoreError(f"{path} cannot be read ({error!r:.100}); {MADE}") from None
    wrong = [name for name in files if not _FILE.fullmatch(name)]
    if wrong or manifest.kind not in _KINDS or (manifest.kind == "sqlite") != (DATABASE in files):
        raise RestoreError(f"{path} names {(wrong or [manifest.kind])[0]!r:.100}; {MADE}")
    return manifest


def _check(source: Path, manifest: Manifest) -> None:
    for name, (digest, size) in manifest.files.items():
        try:
            found = digest_of(source / name)
        except FileNotFoundError:
            raise RestoreError(f"{source / name} is missing, the manifest has it; take another backup") from None
        if found != (digest, size):
            raise RestoreError(
                f"{source / name} has {found[1]} bytes with SHA-256 {found[0]}, the manifest says {size} and {digest}: "
                "it was changed or damaged; take another backup"
            )


def _empty(url: str, sqlite: bool) -> None:
    """Raises `RestoreError` for a database that has anything."""
    if sqlite:
        path = Path(make_url(url).database or "")
        for there in (path, path.with_name(f"{path.name}-wal")):
            if there.exists():
                raise RestoreError(f"{there} is there already, nothing was changed: stop the gateway, and move it away")
        return
    engine = open_database(url)
    try:
        with engine.connect() as connection:
            for table in reflected(connection):
                if table.name != VERSION and connection.scalar(select(func.count()).select_from(table)):
                    raise RestoreError(
                        f"table {table.name} of the database has rows, nothing was changed: stop the gateway, and name "
                        "an empty database"
                    )
    finally:
        engine.dispose()


def _put(results: ResultStore, source: Path, manifest: Manifest, said: Callable[[str], None]) -> None:
    ours = [name.partition("/")[2] for name in manifest.files if name.startswith(f"{RESULTS}/")]
    there = {kept.name for kept in results.list()}
    if others := there - set(ours):
        raise RestoreError(
            f"among the results are {len(others)} that are not of this backup, such as {min(others)}: nothing was "
            "changed; name an empty place (setting results)"
        )
    for name in ours:
        if name not in there:
            results.put((source / RESULTS / name).read_bytes(), name)
    os.sync()
    said(f"results: {len(ours)}")


def _file(path: Path, copy: Path) -> None:
    """The database by temporary name, on disk, then by its own."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.unlink(missing_ok=True)
    with copy.open("rb") as source, os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())
    os.link(part, path)  # which, unlike a rename, never replaces what came meanwhile
    part.unlink()


def _rows(url: str, source: Path, manifest: Manifest) -> None:
    """All of them in one transaction, into the tables of their revision."""
    migrate(url, manifest.revision)
    engine = open_database(url, wait=max(BUSY_SECONDS, STATEMENT_SECONDS))
    try:
        with writing(engine) as connection:
            _inserted(connection, source, manifest)
    finally:
        engine.dispose()


def _inserted(connection: Connection, source: Path, manifest: Manifest) -> None:
    for table in reflected(connection):
        name = f"{ROWS}/{table.name}.jsonl"
        if table.name == VERSION:
            continue
        connection.execute(delete(table))  # what a migration put there is in the backup, too
        if name not in manifest.files:
            raise DatabaseError(f"database: the backup has no rows of table {table.name}; take another backup")
        with (source / name).open("rb") as file:
            for batch in batches(file):
                connection.execute(insert(table), batch)
