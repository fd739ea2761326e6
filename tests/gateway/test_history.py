"""The history of an owner: its own alone, the newest first, each row once however it is paged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway.accounts.generations import Generation, KeptFile
from gateway.accounts.history import Gone, History, NoSuchGeneration
from gateway.accounts.store import Store
from gateway.accounts.tables import FILES
from tests.support.accounts import EACH_DATABASE, store_at

pytestmark = EACH_DATABASE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = store_at(tmp_path / "a.db")
    yield made
    made.engine.dispose()


def kept(store: Store, owner: str, created: float, seed: int = 0) -> str:
    asked = {"prompt": "x", "seed": seed}
    row = Generation(owner, "faces", "1.0", "image", "/v1", asked, created=created)
    row.files = [KeptFile(i, "a" * 64, "b" * 64, name, 1, "image/png") for i, name in enumerate(("r", None))]
    store.write([row], {})
    return row.id


def test_pages_have_each_row_once_also_those_of_one_moment(store: Store) -> None:
    ids = {kept(store, "key_1", created) for created in (1.0, 2.0, 2.0, 2.0, 3.0)}
    kept(store, "key_2", 2.5)
    history, after, seen, more = History(store.engine), None, [], True
    while more:
        rows, more = history.page("key_1", limit=2, after=after)
        seen += rows
        after = rows[-1]["id"]
    assert [row["created"] for row in seen] == [3.0, 2.0, 2.0, 2.0, 1.0]
    assert {row["id"] for row in seen} == ids
    assert history.page("key_3") == ([], False)


def test_one_has_what_makes_the_same_again(store: Store) -> None:
    found = History(store.engine).one("key_1", kept(store, "key_1", 1.0, seed=7))
    assert found["asked"] == {"prompt": "x", "seed": 7}
    assert [(file["index"], file["result"]) for file in found["files"]] == [(0, "r"), (1, None)]


def test_what_is_anothers_is_as_if_it_never_was(store: Store) -> None:
    history, other = History(store.engine), kept(store, "key_2", 1.0)
    for call in (history.one, history.delete):
        with pytest.raises(NoSuchGeneration, match="your history has no generation"):
            call("key_1", other)
    with pytest.raises(NoSuchGeneration, match="your history has no generation"):
        history.page("key_1", after=other)
    assert history.one("key_2", other)["id"] == other


def test_a_row_is_deleted_with_its_files_and_their_results_named(store: Store) -> None:
    history, first, second = History(store.engine), kept(store, "key_1", 1.0), kept(store, "key_1", 2.0)
    assert history.delete("key_1", first) == Gone(1, ["r"])
    assert [row["id"] for row in history.page("key_1").rows] == [second]
    with store.engine.connect() as connection:
        assert set(connection.scalars(select(FILES.c.generation))) == {second}


def test_an_owners_rows_are_cleared_and_nobody_elses(store: Store) -> None:
    history, other = History(store.engine), kept(store, "key_2", 1.0)
    for created in (1.0, 2.0):
        kept(store, "key_1", created)
    assert history.clear("key_1") == Gone(2, ["r", "r"])
    assert history.clear("key_1") == Gone(0, [])
    assert history.one("key_2", other)["id"] == other


def test_what_is_older_goes_whosever_it_is(store: Store) -> None:
    history, young = History(store.engine), kept(store, "key_1", 3.0)
    for owner in ("key_1", "key_2"):
        kept(store, owner, 1.0)
    assert history.expire(3.0) == Gone(2, ["r", "r"])
    assert [row["id"] for row in history.page("key_1").rows] == [young]


def test_results_that_no_row_has_are_told(store: Store) -> None:
    kept(store, "key_1", 1.0)
    assert History(store.engine).orphans(["q", "r", "s"]) == ["q", "s"]


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_page_has_a_bound(store: Store, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit is {limit}: wanted 1 to 100"):
        History(store.engine).page("key_1", limit)
