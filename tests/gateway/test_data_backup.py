"""A backup is whole or not there, taken under writers; a restore changes nothing unless every byte is right."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.database import open_database
from gateway.accounts.history import History
from gateway.accounts.migrate import HEAD
from gateway.accounts.records import Record
from gateway.data import backup as module
from gateway.kept import ResultFolder
from tests.conftest import ROOT
from tests.gateway.kept_data import PROMPT, Data, data, data_in, settings_file
from tests.support.accounts import EACH_DATABASE, ONLY_MARIADB, ONLY_SQLITE, InUse, rows, sound, tables, url_of

pytestmark = EACH_DATABASE
__all__ = ["data"]


def elsewhere(data: Data, folder: Path) -> Data:
    """An empty place with the same keys."""
    folder.mkdir()
    more: dict[str, Any] = {}
    if data.ring is not None:
        more["encryption_keys"] = shutil.copy(data.folder / "keys", folder / "keys")
    settings = settings_file(folder, **more)
    return Data(folder, data.store, ResultFolder(folder / "results", 1 << 20), settings, data.ring)


def whole(path: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    return {name: sorted(rows(path, f"select * from {name}"), key=repr) for name in tables(path)}


def test_what_was_backed_up_is_there_again_elsewhere(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = data.account("alice")
    row = data.generation(key.id, b"first", b"second")
    data.generation(key.id, prompt="half \ud800")
    to = tmp_path / "backup"
    assert data.command("backup", str(to)) == 0
    assert stat.S_IMODE(to.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in to.rglob("*") if path.is_file())
    assert not list(tmp_path.glob("*.part"))
    before = whole(data.path)
    other = elsewhere(data, tmp_path / "other")
    assert other.command("restore", str(to)) == 0, capsys.readouterr().err
    assert whole(other.path) == before
    assert sound(other.path)
    assert {kept.name for kept in other.results.list()} == {file.result for file in row.files}
    assert other.command("export", "--key", key.id, "--to", str(tmp_path / "a.zip")) == 0, "it can be used"
    manifest = json.loads((to / "manifest.json").read_text())
    assert manifest["revision"] == HEAD
    assert len(manifest["files"]) == sum(1 for path in to.rglob("*") if path.is_file()) - 1


def test_a_backup_under_writers_has_whole_transactions(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAGES", 1)  # so that writers come between
    for number in range(200):
        data.store.write([Record(f"r{number}", "key_1", status=200)], {})
    stop, written = threading.Event(), []

    def write() -> None:
        while not stop.is_set():
            data.store.write([Record("a", "key_1", status=201), Record("b", "key_1", status=201)], {})
            written.append(1)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert data.command("backup", str(tmp_path / "backup")) == 0
    finally:
        stop.set()
        thread.join(60)
    assert written
    other = elsewhere(data, tmp_path / "other")
    assert other.command("restore", str(tmp_path / "backup")) == 0
    ((pairs,),) = rows(other.path, "select count(*) from audit where status = 201")
    assert pairs % 2 == 0, "half a transaction"
    assert rows(other.path, "select count(*) from audit where status = 200") == [(200,)]
    assert sound(other.path)


def changed(to: Path) -> None:
    path = next((to / "results").iterdir())
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])


def lost(to: Path) -> None:
    next((to / "results").iterdir()).unlink()


def longer(to: Path) -> None:
    with next(path for path in to.rglob("*") if path.suffix in (".sqlite", ".jsonl")).open("ab") as file:
        file.write(b"\n")


def unfinished(to: Path) -> None:
    (to / "manifest.json").unlink()


def half(to: Path) -> None:
    (to / "manifest.json").write_bytes((to / "manifest.json").read_bytes()[:-9])


def later(to: Path) -> None:
    (to / "manifest.json").write_text((to / "manifest.json").read_text().replace('"format": 1', '"format": 2'))


def newer(to: Path) -> None:
    text = (to / "manifest.json").read_text()
    (to / "manifest.json").write_text(text.replace(f'"revision": "{HEAD}"', '"revision": "0099"'))


def outside(to: Path) -> None:
    text = (to / "manifest.json").read_text()
    (to / "manifest.json").write_text(text.replace('"results/', '"results/../../', 1))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (changed, r"the manifest says \d+ and [0-9a-f]{64}: it was changed or damaged; take another backup"),
        (lost, "is missing, the manifest has it"),
        (longer, "it was changed or damaged"),
        (unfinished, "has no manifest.json, so it is no backup, or one that was not finished"),
        (half, "manifest.json cannot be read"),
        (later, "has format 2, this version reads 1"),
        (newer, f"is at revision 0099, and this version knows 0001.*{HEAD}: a newer version made it"),
        (outside, r"manifest.json names 'results/../../[0-9a-f]+'; .* made none of this"),
    ],
)
def test_a_damaged_backup_is_refused_and_nothing_changed(
    data: Data,
    tmp_path: Path,
    damage: Callable[[Path], None],
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data.generation("key_1", b"first")
    to = tmp_path / "backup"
    assert data.command("backup", str(to)) == 0
    damage(to)
    other = elsewhere(data, tmp_path / "other")
    capsys.readouterr()
    assert other.command("restore", str(to)) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert re.search(said, error), error
    assert list(other.results.list()) == []
    assert not other.path.exists()
    if InUse.server is not None:
        assert tables(other.path) == set()


def test_a_place_that_is_not_empty_is_refused(data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = data.account("alice")
    data.generation(key.id, b"first")
    to = tmp_path / "backup"
    assert data.command("backup", str(to)) == 0
    before = whole(data.path)
    assert data.command("restore", str(to)) == 1
    said = capsys.readouterr().err
    if InUse.server is None:
        assert f"error: {data.path} is there already, nothing was changed: stop the gateway, and move it away" in said
    else:
        assert "of the database has rows, nothing was changed: stop the gateway, and name an empty database" in said
    assert whole(data.path) == before
    other = elsewhere(data, tmp_path / "other")
    stranger = other.results.put(b"another's")
    assert other.command("restore", str(to)) == 1
    assert f"among the results are 1 that are not of this backup, such as {stranger}" in capsys.readouterr().err
    assert [kept.name for kept in other.results.list()] == [stranger]
    assert data.command("backup", str(to)) == 1
    assert f"error: {to} is there already; name a folder that is not" in capsys.readouterr().err


def test_a_restore_that_broke_off_is_gone_on_with(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(3):
        data.generation("key_1", b"x")
    assert data.command("backup", str(tmp_path / "backup")) == 0
    other = elsewhere(data, tmp_path / "other")
    put, calls = ResultFolder.put, []

    def broken(store: ResultFolder, content: bytes, name: str | None = None) -> str:
        calls.append(name)
        if len(calls) == 2:
            raise OSError("the disk is full")
        return put(store, content, name)

    with monkeypatch.context() as patched:
        patched.setattr(ResultFolder, "put", broken)
        assert other.command("restore", str(tmp_path / "backup")) == 1
    assert "error: the disk is full" in capsys.readouterr().err
    assert not other.path.exists()
    assert other.command("restore", str(tmp_path / "backup")) == 0
    assert len(list(other.results.list())) == 3
    assert rows(other.path, "select count(*) from generations") == [(3,)]


def test_a_backup_that_breaks_off_is_not_there(
    data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data.generation("key_1", b"x")

    def broken(_store: ResultFolder, _name: str) -> bytes:
        raise OSError("the disk went away")

    with monkeypatch.context() as patched:
        patched.setattr(ResultFolder, "get", broken)
        assert data.command("backup", str(tmp_path / "backup")) == 1
    assert "error: the disk went away" in capsys.readouterr().err
    assert not (tmp_path / "backup").exists()
    assert not list(tmp_path.glob("*.part"))
    assert data.command("backup", str(tmp_path / "backup")) == 0


@ONLY_MARIADB
def test_a_backup_of_mysql_becomes_a_file_of_sqlite(data: Data, tmp_path: Path) -> None:
    key = data.account("alice")
    data.generation(key.id, b"first", prompt="half \ud800")
    assert data.command("backup", str(tmp_path / "backup")) == 0
    before = whole(data.path)
    other = elsewhere(data, tmp_path / "other")
    assert other.command("restore", str(tmp_path / "backup"), "--database", f"sqlite:///{other.path}") == 0
    with closing(sqlite3.connect(other.path)) as connection:
        for name, wanted in before.items():
            assert sorted(connection.execute(f"select * from {name}").fetchall(), key=repr) == wanted, name


@ONLY_SQLITE
def test_a_backup_of_sqlite_is_not_taken_for_mysql(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data.command("backup", str(tmp_path / "backup")) == 0
    other = elsewhere(data, tmp_path / "other")
    assert other.command("restore", str(tmp_path / "backup"), "--database", "mysql+pymysql://u:secret@127.0.0.1/d") == 1
    said = capsys.readouterr().err
    assert "is of a SQLite database, and mysql+pymysql was named: name a file" in said
    assert "secret" not in said


@ONLY_SQLITE
def test_the_commands_as_an_operator_types_them(tmp_path: Path) -> None:
    made = data_in(tmp_path / "at")
    key = made.account("alice")
    made.generation(key.id, b"first")
    made.store.engine.dispose()

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "gateway", "data", *words, "--settings", str(made.settings)]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    done = command("backup", str(tmp_path / "b"))
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/b: 2 files, {sizes(tmp_path / 'b')} bytes\n"), done.stderr
    done = command("delete", "--key", key.id, "--yes")
    assert done.returncode == 0, done.stderr
    done = command("restore", str(tmp_path / "b"), "--database", url_of(tmp_path / "new.db"))
    assert done.returncode == 0, done.stderr
    assert rows(made.path, "select name from api_keys") == [("deleted",)]
    place = ["--to", str(tmp_path / "a.zip"), "--database", url_of(tmp_path / "new.db")]
    done = command("export", "--key", key.id, *place)
    assert done.returncode == 0, done.stderr
    made.store.engine.dispose()


def sizes(folder: Path) -> int:
    """Bytes of its files, but for the manifest."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")


@pytest.mark.parametrize("name", ["", "export", "delete", "rotate", "backup", "restore"])
def test_every_help_has_an_example(data: Data, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        data.command(*name.split(), "--help")
    assert stopped.value.code == 0
    assert f"example: python -m gateway data {name or 'backup'} " in capsys.readouterr().out


def test_a_history_that_was_restored_opens(data: Data, tmp_path: Path) -> None:
    row = data.generation("key_1", b"file")
    assert data.command("backup", str(tmp_path / "backup")) == 0
    other = elsewhere(data, tmp_path / "other")
    assert other.command("restore", str(tmp_path / "backup")) == 0
    engine = open_database(url_of(other.path))
    history = History(engine, data.ring)
    found = history.one("key_1", row.id)
    assert found["asked"]["prompt"] == PROMPT
    assert history.opened(found, 0, other.results.get(found["files"][0]["result"])) == b"file"
    engine.dispose()
