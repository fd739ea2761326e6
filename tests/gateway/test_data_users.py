"""The account of a user is his with all his keys; a key of his alone is no account."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from gateway.accounts.tables import METADATA
from gateway.data.deletion import DELETED
from tests.gateway.kept_data import Data, data_in
from tests.support.accounts import EACH_DATABASE, rows

pytestmark = EACH_DATABASE
TOKEN = "a token that lets somebody in"


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    made = data_in(tmp_path / "at")
    yield made
    made.store.engine.dispose()


def put(data: Data, into: str, **values: str) -> None:
    """A row with these values, and something in each other column that wants something."""
    table = METADATA.tables[into]
    for column in table.columns:
        if not column.nullable and column.name not in values and column.server_default is None:
            values[column.name] = TOKEN[:8] if column.type.python_type is str else column.type.python_type(1)
    with data.store.engine.begin() as connection:
        connection.execute(insert(table), values)


@pytest.fixture
def key(data: Data) -> str:
    """A key of user u1, with a request; a generation of each; and a session of his."""
    made = data.account("his").id
    put(data, "users", id="u1", name="alice")
    rows(data.path, f"update api_keys set user_id = 'u1' where id = '{made}'")
    put(data, "sessions", id="s1", hash=TOKEN, user_id="u1")
    for owner in ("u1", made, "u2"):
        data.generation(owner, owner.encode())
    return made


def test_an_export_has_what_is_under_the_user_and_under_his_keys(data: Data, key: str, tmp_path: Path) -> None:
    to = tmp_path / "alice.zip"
    assert data.command("export", "--user", "u1", "--to", str(to)) == 0
    with zipfile.ZipFile(to) as archive:

        def column(table: str, name: str) -> set[Any]:
            return {json.loads(line)[name] for line in archive.read(f"{table}.jsonl").splitlines()}

        assert column("users", "id") == {"u1"}
        assert column("api_keys", "id") == {key}
        assert column("generations", "owner") == {"u1", key}
        assert column("audit", "key_id") == {key}
        files = {archive.read(name) for name in archive.namelist() if name.startswith("files/")}
        assert files == {b"u1", key.encode()}
        assert TOKEN.encode() not in b"".join(map(archive.read, archive.namelist()))


def test_deletion_leaves_nothing_of_him_and_his_key_stays_refused(
    data: Data, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert data.command("delete", "--key", key, "--yes") == 1
    assert f"error: key {key} is one of user u1, whose account it is: name that, --user u1" in capsys.readouterr().err
    assert data.command("delete", "--user", "u1", "--yes") == 0
    for table in ("users", "sessions", "audit", "used"):
        assert rows(data.path, f"select * from {table}") == [], table
    assert rows(data.path, "select owner from generations") == [("u2",)]
    assert [data.results.get(kept.name) for kept in data.results.list()] == [b"u2"]
    assert rows(data.path, "select name, user_id, revoked is null from api_keys") == [(DELETED, None, 0)]
    assert data.command("delete", "--user", "u1", "--yes") == 1
    assert "error: no user has the id 'u1', and nothing of one is kept" in capsys.readouterr().err
