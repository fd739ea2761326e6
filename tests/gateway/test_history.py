"""The history of a key: its own alone, the newest first, each row once however it is paged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.accounts.generations import Generation
from gateway.accounts.history import History, NoSuchGeneration
from gateway.accounts.store import Store
from tests.support.accounts import EACH_DATABASE, store_at

pytestmark = EACH_DATABASE


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = store_at(tmp_path / "a.db")
    yield made
    made.engine.dispose()


def kept(store: Store, key_id: str, created: float, seed: int = 0) -> str:
    asked = {"prompt": "x", "seed": seed}
    row = Generation(key_id, "faces", "1.0", "image", "/v1", asked, result="r", created=created)
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


def test_what_is_of_another_key_is_as_if_it_never_was(store: Store) -> None:
    history, other = History(store.engine), kept(store, "key_2", 1.0)
    for call in (history.one, history.delete):
        with pytest.raises(NoSuchGeneration, match="your history has no generation"):
            call("key_1", other)
    with pytest.raises(NoSuchGeneration, match="your history has no generation"):
        history.page("key_1", after=other)
    assert history.one("key_2", other)["id"] == other


def test_a_row_is_deleted_and_its_result_named(store: Store) -> None:
    history, first, second = History(store.engine), kept(store, "key_1", 1.0), kept(store, "key_1", 2.0)
    assert history.delete("key_1", first) == "r"
    assert [row["id"] for row in history.page("key_1").rows] == [second]


@pytest.mark.parametrize("limit", [0, -1, 101])
def test_a_page_has_a_bound(store: Store, limit: int) -> None:
    with pytest.raises(ValueError, match=f"limit is {limit}: wanted 1 to 100"):
        History(store.engine).page("key_1", limit)
