"""Rows of the history: written beside the log of requests, by the same thread, never lost in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.accounts.audit import Audit
from gateway.accounts.generations import Generation, KeptFile
from gateway.accounts.store import Store
from gateway.errors import ApiError
from tests.support.accounts import EACH_DATABASE, held, rows, store_at

pytestmark = EACH_DATABASE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    made = store_at(path)
    yield made
    made.engine.dispose()


def made(prompt: str = "一只猫", **more: object) -> Generation:
    asked = {"prompt": prompt, "seed": 7}
    return Generation("key_1", "faces", "1.0", "image", "/v1/images/generations", asked, **more)  # type: ignore[arg-type]


def test_a_row_has_what_makes_the_same_again(store: Store, path: Path) -> None:
    audit = Audit(store)
    record = audit.begin("r", "key_1")
    generation = made()
    audit.reserve(generation)
    generation.receipt = '{"seed":7}'
    generation.files = [KeptFile(i, "ab" * 32, "cd" * 32, "r", 12, "image/png") for i in range(2)]
    audit.keep(generation)
    audit.end(record, "/v1/images/generations", 200)
    assert audit.close(60) == 0
    ((asked, *others),) = rows(path, "select asked, id, owner, model, receipt, status from generations")
    assert json.loads(asked) == {"prompt": "一只猫", "seed": 7}
    assert others == [generation.id, "key_1", "faces", '{"seed":7}', "done"]
    found = rows(path, "select generation, `index`, sha256, sent_sha256, result, bytes, content_type from files")
    assert found == [(generation.id, i, "ab" * 32, "cd" * 32, "r", 12, "image/png") for i in range(2)]
    assert len(rows(path, "select * from audit")) == 1


def test_half_a_surrogate_pair_comes_back_as_it_was(store: Store, path: Path) -> None:
    audit = Audit(store)
    generation = made("\ud800")
    audit.reserve(generation)
    audit.keep(generation)
    assert audit.close(60) == 0
    ((asked,),) = rows(path, "select asked from generations")
    assert json.loads(asked)["prompt"] == "\ud800"


@pytest.mark.parametrize("room", [{"room": 2}, {"room_bytes": 2 * made().size}])
def test_a_full_queue_refuses_before_the_work_begins(store: Store, path: Path, room: dict[str, int]) -> None:
    audit = Audit(store, **room)
    first, second = made(), made()
    audit.reserve(first)
    audit.reserve(second)
    with pytest.raises(ApiError, match=r"full, 2 rows wait for the database.*nothing was begun") as error:
        audit.reserve(made())
    assert error.value.status == 503
    audit.release(first)
    third = made()
    audit.reserve(third)
    audit.keep(second)
    audit.keep(third)
    assert audit.close(60) == 0
    assert {found for (found,) in rows(path, "select id from generations")} == {second.id, third.id}


def test_what_was_written_counts_as_well(store: Store, path: Path) -> None:
    """A row may grow by what the model wrote: the next one is refused then."""
    audit = Audit(store, room_bytes=1000)
    with held(path):
        long = made()
        audit.reserve(long)
        long.text = "a" * 1000
        audit.keep(long)
        with pytest.raises(ApiError, match="full, 1 rows wait"):
            audit.reserve(made())
    assert audit.flush(60)
    short = made()
    audit.reserve(short)
    audit.release(short)
    assert audit.close(60) == 0


def test_a_batch_that_was_kept_unseen_is_not_kept_twice(store: Store, path: Path) -> None:
    generation = made()
    store.write([generation], {})
    store.write([generation], {}, again=True)
    assert len(rows(path, "select * from generations")) == 1


def test_a_database_that_is_held_loses_nothing(store: Store, path: Path) -> None:
    audit = Audit(store)
    with held(path):
        generations = [made() for _ in range(3)]
        for generation in generations:
            audit.reserve(generation)
            audit.keep(generation)
        assert not audit.flush(0.3)
    assert audit.close(60) == 0
    assert len(rows(path, "select * from generations")) == 3
