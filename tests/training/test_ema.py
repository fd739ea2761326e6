"""The averaged network: its half-life is counted in items and grows with training."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training import ema


def test_after_a_half_life_of_items_half_of_the_old_weights_is_left() -> None:
    decay = ema.half_life_decay(items_seen=10**9, items=64, half_life=6400)
    assert decay**100 == pytest.approx(0.5)
    assert ema.half_life_decay(10**9, 6400, 6400) == 0.5
    assert ema.half_life_decay(10**9, 32, 6400) == pytest.approx(decay**0.5)  # per item, whatever the batch


def test_the_half_life_is_at_most_a_twentieth_of_the_items_seen() -> None:
    assert ema.half_life_decay(2000, 50, 10_000) == pytest.approx(0.5 ** (50 / 100))
    assert ema.half_life_decay(200_000, 50, 10_000) == pytest.approx(0.5 ** (50 / 10_000))
    assert ema.half_life_decay(200_001, 50, 10_000) == ema.half_life_decay(10**9, 50, 10_000)
    assert ema.half_life_decay(0, 64, 10_000) == pytest.approx(0, abs=1e-300)  # the first step replaces what was drawn
    assert ema.half_life_decay(10**9, 64, 0.0) == 0  # no half-life: no average


def test_an_update_averages_numbers_and_copies_counts() -> None:
    mine, theirs = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    with torch.no_grad():
        for network, value in ((mine, 1.0), (theirs, 3.0)):
            network.weight.fill_(value)
            network.running_mean.fill_(value)  # type: ignore[union-attr]
    theirs.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    ema.update(mine, theirs, decay=0.75)
    assert mine.weight.tolist() == [1.5, 1.5]
    assert mine.running_mean.tolist() == [1.5, 1.5]  # type: ignore[union-attr]
    assert int(mine.num_batches_tracked) == 7  # type: ignore[arg-type]
    assert theirs.weight.tolist() == [3.0, 3.0]
