"""Migrations: up, down, by several processes at once, and the same tables for MySQL."""

from __future__ import annotations

import io
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from gateway.accounts.audit import Audit
from gateway.accounts.database import DatabaseError, open_database
from gateway.accounts.migrate import HEAD, alembic_config, migrate
from gateway.accounts.store import Store
from gateway.accounts.tables import METADATA
from tests.conftest import ROOT
from tests.support.accounts import STEPS, rows, store_at, url_of

MIGRATE = """
import sys
from gateway.accounts.migrate import migrate
print("ready", flush=True)
sys.stdin.readline()
print(*migrate(sys.argv[1]), flush=True)
"""


def scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


KEPT = "select id, hash, name, scopes, created, last_used, tokens_a_day from api_keys"  # later steps add to it


def test_the_last_revision_is_the_one_that_a_start_compares_with() -> None:
    assert scripts().get_heads() == [HEAD]


def test_the_migrations_make_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    migrate(url_of(tmp_path / "a.db"))
    engine = open_database(url_of(tmp_path / "a.db"))
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_down_and_up_keep_the_rows_of_what_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    store = store_at(path)
    _, key = store.create("a", ["audio:generate"], limits={"tokens_a_day": 5})
    audit = Audit(store)
    audit.end(audit.begin("r", key.id), "/v1/models", 200)
    assert audit.close(60) == 0
    store.engine.dispose()
    before = rows(path, KEPT), rows(path, "select * from audit")
    assert migrate(url_of(path), "0002") == STEPS[:1:-1]
    assert (rows(path, KEPT), rows(path, "select * from audit")) == before
    with pytest.raises(sqlite3.OperationalError, match="no such table: used"):
        rows(path, "select * from used")
    assert migrate(url_of(path)) == STEPS[2:]
    assert (rows(path, KEPT), rows(path, "select * from audit")) == before
    assert migrate(url_of(path), "0001") == STEPS[:0:-1]
    assert rows(path, KEPT) == before[0]
    assert migrate(url_of(path)) == STEPS[1:]
    assert migrate(url_of(path)) == []
    assert Store(open_database(url_of(path))).keys()[0].name == "a"


def test_base_is_an_empty_database(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate(url_of(path))
    assert migrate(url_of(path), "base") == STEPS[::-1]
    assert rows(path, "select name from sqlite_master where type='table'") == [("alembic_version",)]
    assert migrate(url_of(path)) == STEPS


def test_of_processes_that_start_at_once_one_migrates(tmp_path: Path) -> None:
    """Real processes, none before the others are ready; the file is not there before."""
    command = [sys.executable, "-c", MIGRATE, url_of(tmp_path / "a.db")]
    pipe = subprocess.PIPE
    started = [subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) for _ in range(4)]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 4, ends
    assert sorted(said.strip() for said, _ in ends) == ["", "", "", " ".join(STEPS)]
    assert store_at(tmp_path / "a.db").keys() == []


def test_a_migration_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate(url_of(path), "0001")
    with closing(sqlite3.connect(path)) as other:  # in the way of the last step
        other.execute("create table used (other)")
    with pytest.raises(DatabaseError, match="cannot be migrated: table used already exists"):
        migrate(url_of(path))
    names = {name for (name,) in rows(path, "select name from sqlite_master where type='table'")}
    assert "audit" not in names, "a step before the one that failed was kept"
    assert rows(path, "select version_num from alembic_version") == [("0001",)]


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    migrate(url_of(path))
    with closing(sqlite3.connect(path)) as other:
        other.execute("update alembic_version set version_num='0099'")
        other.commit()
    with pytest.raises(DatabaseError, match=r"is at revision 0099, and this version knows 0001, .*a newer version"):
        migrate(url_of(path))


def test_an_unknown_revision_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=f"no revision 7; wanted one of base, {', '.join(STEPS)}"):
        migrate(url_of(tmp_path / "a.db"), "7")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "the URL cannot be read; wanted: sqlite:///FOLDER/FILE or mysql"),
        ("sqlite://", "names no file, so keys would not last"),
        ("postgresql://u:secret@h/d", "postgresql is not known"),
        ("sqlite:////proc/none/a.db", "/proc/none/a.db cannot be made"),
    ],
)
def test_urls_that_cannot_be_used(url: str, said: str) -> None:
    with pytest.raises(DatabaseError) as error:
        migrate(url)
    assert said in str(error.value)
    assert "secret" not in str(error.value)


def test_a_file_that_is_no_database_is_named_by_its_fault(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_bytes(b"no database at all, but some text" * 100)
    with pytest.raises(DatabaseError, match="file is not a database"):
        migrate(url_of(tmp_path / "a.db"))


def test_mysql_gets_the_same_tables_and_nothing_of_sqlite() -> None:
    """Alembic's own SQL for MySQL, without a server."""
    out = io.StringIO()
    script = scripts()

    def steps(revision: object, _context: object) -> object:
        return script._upgrade_revs("head", "base")

    with EnvironmentContext(alembic_config(), script, fn=steps, as_sql=True, destination_rev="head") as context:
        context.configure(dialect_name="mysql", output_buffer=out)
        context.run_migrations()
    said = out.getvalue()
    for table in METADATA.tables:
        made = re.search(rf"CREATE TABLE IF NOT EXISTS {table} \([^;]*?\)\s*CHARSET=utf8mb4 ENGINE=InnoDB;", said)
        assert made, f"no {table} in\n{said}"
    assert "AUTOINCREMENT" not in said
    assert "PRAGMA" not in said
    assert "VARCHAR" not in said.replace("VARCHAR(", ""), "MySQL wants a length of every text"
