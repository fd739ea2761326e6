"""Rows stay dense: whoever leaves, the others keep their state, and a step over all of them copies nothing."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.text.state_arrays import StateArrays

STATES = {"h": (2, 3), "feed": (3,)}


class Owner:
    """Knows where its row is."""

    def __init__(self, rows: StateArrays, length: int, mark: float) -> None:
        self.length, self.mark = length, mark
        memory = np.full((-(-length // 4) * 4, 3), mark, np.float32)
        self.row = rows.add([int(mark)] * length, memory, {"h": np.full((2, 3), mark, np.float32)}, self.moved)

    def moved(self, row: int) -> None:
        self.row = row

    def check(self, rows: StateArrays) -> None:
        found = rows.inputs([self.row])
        assert found["lengths"] == [self.length]
        assert (found["memory"][0, : self.length] == self.mark).all()
        assert (found["memory"][0, self.length :] == 0).all()
        assert found["tokens"][0].tolist() == [int(self.mark)] * self.length + [0] * (
            len(found["tokens"][0]) - self.length
        )
        assert (found["h"] == self.mark).all()
        assert (found["feed"] == 0).all()  # of what the encoder says nothing


@pytest.fixture
def rows() -> StateArrays:
    return StateArrays(4, 3, STATES, 4)


def test_rows_are_found_again_whoever_leaves(rows: StateArrays) -> None:
    random = np.random.default_rng(0)
    owners: list[Owner] = []
    for number in range(200):
        if owners and (len(owners) == 4 or random.random() < 0.5):
            rows.release(owners.pop(int(random.integers(len(owners)))).row)
        else:
            owners.append(Owner(rows, int(random.integers(1, 20)), number + 1.0))
        assert rows.live == len(owners)
        assert sorted(owner.row for owner in owners) == list(range(len(owners)))
        for owner in owners:
            owner.check(rows)


def test_memory_is_as_long_as_the_longest_live_source_in_whole_steps(rows: StateArrays) -> None:
    short, long = Owner(rows, 3, 1.0), Owner(rows, 9, 2.0)
    assert rows.memory.shape == (4, 12, 3)
    rows.release(long.row)
    assert rows.memory.shape == (4, 4, 3)
    short.check(rows)


def test_the_first_rows_are_views_and_others_are_copies(rows: StateArrays) -> None:
    for mark in (1.0, 2.0, 3.0):
        Owner(rows, 2, mark)
    views: list[NDArray[np.float32]] = [rows.inputs([0, 1])[name] for name in ("memory", "h", "feed")]
    assert all(view.base is not None and view.flags.c_contiguous for view in views)
    assert np.shares_memory(rows.inputs([0, 1, 2])["memory"], rows.memory)
    assert not np.shares_memory(rows.inputs([1, 0])["memory"], rows.memory)
    assert rows.inputs([2, 0])["h"][:, 0, 0].tolist() == [3.0, 1.0]


def test_no_more_rows_than_there_are(rows: StateArrays) -> None:
    for mark in range(4):
        Owner(rows, 1, mark)
    with pytest.raises(ValueError, match="all 4 rows are in use"):
        Owner(rows, 1, 9.0)
    assert rows.live == 4


def test_a_source_that_does_not_fit_takes_no_row(rows: StateArrays) -> None:
    first = Owner(rows, 2, 1.0)
    wrong = np.zeros((9, 9), np.float32)
    for positions, states in ((2, {}), (5, {"h": wrong})):
        with pytest.raises(ValueError, match="could not broadcast"):
            rows.add([1] * 5, np.zeros((positions, 3), np.float32), states, lambda row: None)
        assert rows.live == 1
        assert rows.memory.shape == (4, 4, 3)
    first.check(rows)
