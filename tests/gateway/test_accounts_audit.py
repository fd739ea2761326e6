"""The log of requests: nothing is lost in silence, whatever becomes of the process or the database."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from gateway.accounts import audit as module
from gateway.accounts.audit import Audit
from gateway.accounts.records import Use
from gateway.accounts.store import Store
from gateway.errors import ApiError
from tests.conftest import ROOT
from tests.support.accounts import EACH_DATABASE, ONLY_SQLITE, held, rows, sound, store_at, url_of
from tests.support.server import eventually

pytestmark = EACH_DATABASE
WRITER = """
import sys
from gateway.accounts.audit import Audit
from gateway.accounts.database import open_database
from gateway.accounts.records import Use
from gateway.accounts.store import Store
audit = Audit(Store(open_database(sys.argv[1])))
while True:
    made = [audit.begin("r", "key_1") for _ in range(20)]
    for record in made:
        record.units["images"] = 1.0
        record.uses[Use("key_1", "2026-11-28", "images")] = 1.0
        audit.end(record, "/v1/images/generations", 200)
    if audit.flush(60):
        print(*[record.id for record in made], flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = store_at(path)
    yield made
    made.engine.dispose()


def ask(audit: Audit, count: int) -> None:
    for number in range(count):
        audit.end(audit.begin(f"r{number}", "key_1"), "/v1/models", 200)


def test_a_row_says_who_what_and_how_long(store: Store, path: Path) -> None:
    audit = Audit(store)
    record = audit.begin("request-1", "key_1")
    audit.use(Use("key_1", "2026-11-28", "images"), 2)
    audit.use(Use("key_1", "2026-11-28", "images"), 1)
    audit.end(record, "/v1/images/generations", 200)
    audit.use(Use("key_1", "2026-11-28", "tokens"), 40)  # a job, whose request has ended
    assert audit.close(60) == 0
    found = rows(path, "select request_id, key_id, route, status, images, tokens, seconds >= 0 from audit")
    assert found == [("request-1", "key_1", "/v1/images/generations", 200, 3, 0, 1)]
    assert rows(path, "select * from used order by unit") == [
        ("key_1", "2026-11-28", "images", 3),
        ("key_1", "2026-11-28", "tokens", 40),
    ]


def test_many_rows_are_one_transaction(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LINGER_SECONDS", 60)  # until somebody is in a hurry
    sizes: list[int] = []
    write = store.write

    def counted(batch: Any, *more: Any, **named: Any) -> None:
        sizes.append(len(batch))
        write(batch, *more, **named)

    monkeypatch.setattr(store, "write", counted)
    audit = Audit(store)
    ask(audit, 300)
    assert audit.close(60) == 0
    assert sizes == [300]
    assert rows(path, "select count(*) from audit") == [(300,)]


def test_the_last_use_of_a_key_is_kept(store: Store) -> None:
    _, key = store.create("a")
    assert store.keys()[0].last_used is None
    audit = Audit(store)
    record = audit.begin("r", key.id)
    audit.end(record, "/v1/models", 200)
    assert audit.close(60) == 0
    assert store.keys()[0].last_used == record.started


def test_a_full_queue_is_a_503_before_anything_is_begun_and_nothing_is_lost(store: Store, path: Path) -> None:
    audit = Audit(store, room=10)
    with held(path):
        ask(audit, 8)
        running = audit.begin("running", "key_1")
        audit.begin("still running", "key_1")
        with pytest.raises(ApiError, match="the log of requests is full, 10 rows wait for the database") as refused:
            audit.begin("too many", "key_1")
        assert (refused.value.status, refused.value.code) == (503, "overloaded")
        assert refused.value.retry_after is not None
        audit.end(running, "/v1/models", 200)  # what was begun is kept
    eventually(lambda: audit.flush(60), 60, "the rows were not written")
    assert rows(path, "select count(*) from audit") == [(9,)]
    ask(audit, 9)
    assert audit.close(60) == 1, "one never ended"
    assert rows(path, "select count(*) from audit") == [(18,)]


@ONLY_SQLITE
def test_a_full_disk_is_a_503_with_its_reason_and_passes(store: Store, path: Path) -> None:
    full = threading.Event()

    @event.listens_for(store.engine, "checkout")
    def pages(connection: Any, _: Any, __: Any) -> None:
        # SQLite then answers a write as it does on a disk without room: SQLITE_FULL.
        most = connection.execute("PRAGMA page_count").fetchone()[0] if full.is_set() else 1_000_000
        connection.execute(f"PRAGMA max_page_count={most}")

    full.set()
    audit = Audit(store, room=400)
    kept = 0

    def refused() -> str:
        nonlocal kept
        for _ in range(50):
            try:
                ask(audit, 1)
            except ApiError as error:
                return f"{error.status} {error.message}"
            kept += 1
        return ""

    eventually(lambda: re.match(r"503 .*\(its disk is full\)", refused()) is not None, 60, "it was never full")
    assert audit.trouble == "its disk is full"
    full.clear()
    eventually(lambda: audit.flush(60), 60, "the rows were not written")
    assert rows(path, "select count(*) from audit") == [(kept,)]
    assert audit.close(60) == 0


def test_a_batch_whose_end_nobody_heard_is_kept_once(store: Store, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, tries = store.write, []

    def lost(*given: Any, **named: Any) -> None:
        write(*given, **named)
        tries.append(named)
        if len(tries) == 1:
            raise OSError("the connection was lost after the commit")

    monkeypatch.setattr(store, "write", lost)
    audit = Audit(store)
    record = audit.begin("r", "key_1")
    audit.use(Use("key_1", "2026-11-28", "images"), 2)
    audit.end(record, "/v1/images/generations", 200)
    assert audit.flush(60)
    assert audit.close(60) == 0
    assert len(tries) == 2
    assert rows(path, "select count(*) from audit") == [(1,)]
    assert rows(path, "select amount from used") == [(2,)]


def test_rows_that_the_end_leaves_unwritten_are_counted(store: Store, path: Path) -> None:
    audit = Audit(store)
    with held(path):
        ask(audit, 7)
        assert audit.close(0.2) == 7


def test_kill_9_loses_no_row_that_was_said_to_be_written(store: Store, path: Path) -> None:
    command = [sys.executable, "-c", WRITER, url_of(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        said = [writer.stdout.readline() for _ in range(5)]
        writer.send_signal(signal.SIGKILL)
        said += writer.stdout.readlines()
    written = {word for line in said if line.endswith("\n") for word in line.split()}
    assert len(written) >= 100
    found = {row[0] for row in rows(path, "select id from audit")}
    assert written <= found
    assert sound(path)
    assert rows(path, "select amount from used") == [(len(found),)], "rows and quotas are written together"
