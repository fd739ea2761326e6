"""Everything of one account as a zip: a file of JSON lines for each table, and the files that were made for it."""

from __future__ import annotations

import contextlib
import mimetypes
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, select

from gateway.accounts.tables import FILES, GENERATIONS
from gateway.data.account import Account, of, public, tables
from gateway.data.lines import line, streamed
from gateway.data.opening import opened, opened_file
from gateway.kept import NoSuchResult, ResultStore
from gateway.sealed import Ring, SealError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class Exported(NamedTuple):
    """How many rows and files are in it, and what is not in it and why, a line each."""

    rows: int
    files: int
    troubles: list[str]


def export(
    engine: Engine, results: ResultStore, ring: Ring | None, account: Account, to: Path, said: Callable[[str], None]
) -> Exported:
    """Write it whole or not at all, for this user alone. Blocks. Raises `OSError`; what is there is not replaced."""
    if to.exists():
        raise FileExistsError(f"{to} is there already; name another file")
    part = to.with_name(f"{to.name}.part")
    part.unlink(missing_ok=True)  # of an export that was killed
    troubles: list[str] = []
    try:
        with os.fdopen(os.open(part, _NEW, 0o600), "wb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, engine.connect() as connection:
                rows = _rows(archive, connection, ring, account, troubles, said)
                files = _files(archive, connection, results, ring, account, troubles)
                said(f"files: {files}")
                if troubles:
                    archive.writestr("troubles.txt", "".join(f"{trouble}\n" for trouble in troubles))
            file.flush()
            os.fsync(file.fileno())
        os.link(part, to)  # which, unlike a rename, never replaces what came meanwhile
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return Exported(rows, files, troubles)


def file_name(generation: str, index: int, content_type: str) -> str:
    """Where a file of a generation is in the archive."""
    ending = mimetypes.guess_extension(content_type.partition(";")[0].strip()) or ".bin"
    return f"files/{generation}-{index}{ending}"


def _rows(
    archive: zipfile.ZipFile,
    connection: Connection,
    ring: Ring | None,
    account: Account,
    troubles: list[str],
    said: Callable[[str], None],
) -> int:
    total = 0
    for table in tables():
        count = 0
        query = select(table).where(of(table, account)).order_by(*table.primary_key.columns)
        with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as lines:
            for row in streamed(connection, query):
                found = opened(row, ring)
                if found.get("trouble") is not None:
                    troubles.append(f"{table.name}: {found['trouble']}")
                lines.write(line(public(found)))
                count += 1
        said(f"{table.name}: {count} rows")
        total += count
    return total


def _files(
    archive: zipfile.ZipFile,
    connection: Connection,
    results: ResultStore,
    ring: Ring | None,
    account: Account,
    troubles: list[str],
) -> int:
    count = 0
    for row in _kept(connection, account):
        name = file_name(row["generation"], row["index"], row["content_type"])
        try:
            content = opened_file(row, row["index"], results.get(row["result"]), ring)
        except (NoSuchResult, SealError) as error:
            troubles.append(f"{name}: {error}")
            continue
        with archive.open(name, "w", force_zip64=True) as file:
            file.write(content)
        count += 1
    return count


def _kept(connection: Connection, account: Account) -> Iterator[dict[str, Any]]:
    """The files that are kept, each with what opens it."""
    columns = (*FILES.c, GENERATIONS.c.id, GENERATIONS.c.sealed_by, GENERATIONS.c.sealed_key)
    query = (
        select(*columns)
        .join(GENERATIONS, GENERATIONS.c.id == FILES.c.generation)
        .where(GENERATIONS.c.owner.in_(account.ids), FILES.c.result.is_not(None))
        .order_by(FILES.c.generation, FILES.c.index)
    )
    return streamed(connection, query)
