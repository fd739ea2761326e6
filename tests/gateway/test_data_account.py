"""Everything of one account: exported whole and for its eyes alone, and deleted to the last row, on both databases."""

from __future__ import annotations

import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.tables import METADATA
from gateway.data.account import SECRET, Account, of, tables
from gateway.data.deletion import DELETED
from tests.gateway.kept_data import DAY, PROMPT, Data, data, settings_file
from tests.support.accounts import EACH_DATABASE, rows

pytestmark = EACH_DATABASE
__all__ = ["data"]


def lines(archive: zipfile.ZipFile, table: str) -> list[dict[str, Any]]:
    return [json.loads(text) for text in archive.read(f"{table}.jsonl").splitlines()]


def test_every_table_is_somebodys_or_said_to_be_nobodys() -> None:
    for table in tables():
        assert of(table, Account("a", frozenset("a"), ())) is not None
    named = {column.name for table in METADATA.sorted_tables for column in table.columns}
    assert {"hash", "sealed_key"} <= named & set(SECRET)
    suspect = {name for name in named if any(word in name for word in ("hash", "secret", "token", "password", "_key"))}
    kept = {"sha256", "sent_sha256", "phash", "tokens", "tokens_a_day"}
    assert suspect - kept <= set(SECRET), "is it a secret? then it belongs to SECRET, else to this list"


def test_an_export_has_every_row_and_file_of_one_account_alone(data: Data, tmp_path: Path) -> None:
    mine, other = data.account("alice"), data.account("bob")
    row = data.generation(mine.id, b"first", b"second")
    data.generation(other.id, b"bob's", prompt="a secret of bob")
    data.generation(mine.id, prompt="half \ud800")
    to = tmp_path / "alice.zip"
    assert data.command("export", "--key", mine.id, "--to", str(to)) == 0
    assert stat.S_IMODE(to.stat().st_mode) == 0o600
    with zipfile.ZipFile(to) as archive:
        assert archive.testzip() is None
        assert set(archive.namelist()) == {
            *(f"{table.name}.jsonl" for table in tables()),
            f"files/{row.id}-0.png",
            f"files/{row.id}-1.png",
        }
        assert archive.read(f"files/{row.id}-1.png") == b"second"
        found = {line["id"]: line for line in lines(archive, "generations")}
        assert found[row.id]["asked"] == {"prompt": PROMPT, "seed": 7}
        assert found[row.id]["receipt"] == {"seed": 7}
        assert {line["asked"]["prompt"] for line in found.values()} == {PROMPT, "half \ud800"}
        assert [line["route"] for line in lines(archive, "audit")] == ["/v1/images/generations"]
        assert [(line["day"], line["amount"]) for line in lines(archive, "used")] == [(DAY, 1)]
        assert [line["name"] for line in lines(archive, "api_keys")] == ["alice"]
        whole = b"".join(archive.read(name) for name in archive.namelist())
    for secret in (mine.hash, other.id, "bob", "sealed_key"):
        assert secret.encode() not in whole


def test_what_cannot_be_exported_is_said_and_the_rest_is_there(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = data.account("alice")
    row = data.generation(key.id, b"first", b"second")
    data.results.delete(row.files[0].result or "")
    to = tmp_path / "alice.zip"
    assert data.command("export", "--key", key.id, "--to", str(to)) == 1
    assert f"not in it: files/{row.id}-0.png: no result is kept as" in capsys.readouterr().err
    with zipfile.ZipFile(to) as archive:
        assert archive.read(f"files/{row.id}-1.png") == b"second"
        assert b"no result is kept as" in archive.read("troubles.txt")
    assert data.command("export", "--key", key.id, "--to", str(to)) == 1
    assert f"error: {to} is there already; name another file" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.part"))


def test_a_deleted_account_is_gone_and_the_others_stay(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    mine, other = data.account("alice"), data.account("bob")
    gone = [data.generation(mine.id, b"a", b"b") for _ in range(3)]
    stays = data.generation(other.id, b"c")
    assert data.command("delete", "--key", mine.id) == 1
    said = capsys.readouterr().err
    assert f"error: nothing was deleted of {mine.id} (" in said
    assert "3 of generations" in said and "6 of files" in said and "add --yes" in said
    assert data.command("delete", "--key", mine.id, "--yes") == 0
    assert f"nothing is kept of {mine.id} but in backups" in capsys.readouterr().out
    for table in tables():
        if table.name != "api_keys":
            values = [value for row in rows(data.path, f"select * from {table.name}") for value in row]
            assert not {mine.id, *(row.id for row in gone)} & set(values)
    assert {kept.name for kept in data.results.list()} == {stays.files[0].result}
    assert rows(data.path, "select owner from generations") == [(other.id,)]
    assert rows(data.path, "select key_id from audit") == [(other.id,)]
    ((hash_, name, revoked),) = rows(data.path, f"select hash, name, revoked from api_keys where id = '{mine.id}'")
    assert (hash_, name) == (mine.hash, DELETED)
    assert revoked is not None, "who holds the key is refused by every gateway"
    assert data.store.revocations() == 1
    assert data.command("delete", "--key", mine.id, "--yes") == 0, "once more changes nothing"
    assert data.store.keys()[1].name == "bob"


def test_a_deletion_that_breaks_off_is_gone_on_with(
    data: Data, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    key = data.account("alice")
    for _ in range(3):
        data.generation(key.id, b"a")
    deleted: list[str] = []

    def broken(store: Any, name: str) -> None:
        if len(deleted) == 1:
            raise OSError("the store went away")
        deleted.append(name)
        (store.path / name).unlink()

    with monkeypatch.context() as patched:
        patched.setattr("gateway.kept.ResultFolder.delete", broken)
        assert data.command("delete", "--key", key.id, "--yes") == 1
    assert "error: the store went away" in capsys.readouterr().err
    assert len(rows(data.path, "select * from generations")) == 3, "rows that name what is left stay"
    assert data.command("delete", "--key", key.id, "--yes") == 0
    assert rows(data.path, "select * from generations") == []
    assert list(data.results.list()) == []


@pytest.mark.parametrize("command", ["export --to x.zip", "delete --yes"])
def test_an_account_that_there_is_not(data: Data, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    first, *rest = command.split()
    assert data.command(first, "--key", "key_none", *rest) == 1
    assert "error: no key has the id 'key_none', and nothing of one is kept" in capsys.readouterr().err
    assert not Path("x.zip").exists()


def test_a_row_under_a_key_that_is_missing_is_said(
    data: Data, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = data.account("alice")
    row = data.generation(key.id, b"first")
    settings_file(data.folder)  # which names no keys
    to = tmp_path / "alice.zip"
    assert data.command("export", "--key", key.id, "--to", str(to)) == (0 if data.ring is None else 1)
    with zipfile.ZipFile(to) as archive:
        (found,) = lines(archive, "generations")
    if data.ring is not None:
        assert f"row {row.id} was sealed under key now, and no file of keys is set" in capsys.readouterr().err
        assert (found["asked"], found["receipt"]) == (None, None)
