"""Data keys are wrapped under the current key, in batches, from where it broke off, on both databases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.accounts.history import History
from gateway.data import rotation
from gateway.data.rotation import rotate
from gateway.sealed import read_ring
from tests.gateway.kept_data import PROMPT, Data, data_in, keys_file
from tests.support.accounts import EACH_DATABASE, rows

pytestmark = EACH_DATABASE


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Data]:
    made = data_in(tmp_path / "at", "old")
    yield made
    made.store.engine.dispose()


def under(data: Data) -> list[tuple[str, int]]:
    return rows(data.path, "select sealed_by, count(*) from generations group by sealed_by order by sealed_by")


def test_every_row_opens_under_the_new_key_alone(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    made = [data.generation("key_1", b"file") for _ in range(3)]
    keys_file(data.folder, "new", "old")
    assert data.command("rotate") == 0
    said = capsys.readouterr()
    assert "3 rows were wrapped under key new" in said.out
    assert "generations: 3 of 3 rows" in said.err
    assert under(data) == [("new", 3)]
    keys_file(data.folder, "new")
    history = History(data.store.engine, read_ring(data.folder / "keys"))
    for row in made:
        found = history.one("key_1", row.id)
        assert (found["asked"]["prompt"], found["trouble"]) == (PROMPT, None)
        assert history.opened(found, 0, data.results.get(found["files"][0]["result"])) == b"file"
    assert data.command("rotate") == 0
    assert "0 rows were wrapped under key new" in capsys.readouterr().out


def test_it_goes_on_where_it_broke_off(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotation, "AT_ONCE", 2)
    for _ in range(5):
        data.generation("key_1")
    ring = read_ring(keys_file(data.folder, "new", "old"))
    heard: list[str] = []

    def broken(said: str) -> None:
        heard.append(said)
        if len(heard) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate(data.store.engine, ring, broken)
    assert heard == ["generations: 2 of 5 rows", "generations: 4 of 5 rows"]
    assert under(data) == [("new", 4), ("old", 1)]
    assert rotate(data.store.engine, ring, heard.append) == (1, {})
    assert heard[2:] == ["generations: 1 of 1 rows"]
    assert under(data) == [("new", 5)]


def test_a_row_whose_key_is_missing_is_said_and_the_others_go_on(
    data: Data, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotation, "AT_ONCE", 1)
    lost = read_ring(keys_file(data.folder, "lost"))
    for ring in (None, lost, None, lost):
        data.generation("key_1", ring=ring)
    keys_file(data.folder, "new", "old")
    assert data.command("rotate") == 1
    said = capsys.readouterr()
    assert "2 rows were wrapped under key new" in said.out
    assert "error: 2 rows were not: a row was sealed under key lost, and the file of keys has new, old" in said.err
    assert under(data) == [("lost", 2), ("new", 2)]


def test_ids_that_differ_by_case_alone_are_two(data: Data) -> None:
    data.generation("key_1", ring=read_ring(keys_file(data.folder, "KEY")))
    keys_file(data.folder, "key", "KEY")
    assert data.command("rotate") == 0
    assert [name for name, _ in under(data)] == ["key"]


def test_without_keys_there_is_nothing_to_rotate(data: Data, capsys: pytest.CaptureFixture[str]) -> None:
    data.settings.write_text("")
    assert data.command("rotate") == 1
    assert "error: setting encryption_keys is not set, so nothing is sealed" in capsys.readouterr().err
