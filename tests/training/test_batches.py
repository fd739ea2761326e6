"""Batches follow from the seed and the step alone: a resumed run learns from the same items."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from training.batches import by_length, drawn, epochs, of_like_length


def taken(step: int, count: int, seed: int = 0) -> list[list[int]]:
    """`count` batches of 4 of 10 items, from a step on."""
    return [batch.tolist() for batch in itertools.islice(epochs(10, 4, seed, step), count)]


def test_an_epoch_holds_no_item_twice_and_the_next_one_is_another() -> None:
    batches = taken(0, 6)
    for first, second in zip(batches[::2], batches[1::2], strict=True):
        assert len({*first, *second}) == 8  # the two that fill no batch are left out
    assert batches[:2] != batches[2:4] != batches[4:]
    assert batches != taken(0, 6, seed=1)


def test_epochs_go_on_at_any_step() -> None:
    torch.rand(1)  # nothing hangs on the global random state
    whole = taken(0, 9)
    for step in range(5):
        assert taken(step, 4) == whole[step : step + 4]


def test_drawn_items_are_of_the_set_and_of_the_step() -> None:
    batches = [drawn(5, 64, seed=3, step=step) for step in range(20)]
    assert {int(item) for batch in batches for item in batch} == set(range(5))
    assert all(batch.shape == (64,) and batch.dtype == np.int64 for batch in batches)
    assert len({batch.tobytes() for batch in batches}) == 20
    assert drawn(5, 64, 3, 7).tolist() == batches[7].tolist() != drawn(5, 64, 4, 7).tolist()


def test_few_items_make_fewer_groups_and_every_group_comes() -> None:
    groups = by_length([5, 1, 3])
    assert [group.tolist() for group in groups] == [[1], [2], [0]]
    assert {int(of_like_length(groups, 1, 0, step)[0]) for step in range(50)} == {0, 1, 2}
