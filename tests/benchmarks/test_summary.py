"""Statistics of few and of many figures."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from benchmarks.result import null_for_nan
from benchmarks.summary import RANKS, latency, percentiles_ms, series, spread


@pytest.mark.parametrize("count", [1, 2, 3, 100, 1001])
def test_percentiles_are_those_of_numpy(count: int) -> None:
    numbers = random.Random(count)
    values = [numbers.expovariate(10.0) for _ in range(count)]
    assert percentiles_ms(values, RANKS) == pytest.approx(list(np.percentile(values, RANKS) * 1e3), abs=0.001)


def test_nothing_has_no_percentile() -> None:
    nothing = latency([])
    assert nothing.count == 0
    assert all(math.isnan(value) for value in (nothing.p50_ms, nothing.p99_ms, nothing.max_ms))


def test_a_spread_is_median_and_range() -> None:
    found = spread([3.0, 1.0, 2.0])
    assert (found.median, found.lowest, found.highest, found.times) == (2.0, 1.0, 3.0, 3)
    assert str(found) == "2.000 (1.000 to 3.000, 3 times)"
    for values in ([], [1.0, math.nan]):
        with pytest.raises(ValueError, match="nothing was measured"):
            spread(values)


def test_a_series_shows_when_it_was_slow() -> None:
    points = [(second / 100, 0.5 if 30 <= second < 40 else 0.001) for second in range(100)]
    line = series(points, 1.0)
    slow = [at for at, middle, _ in line if middle > 100]
    assert slow
    assert all(0.28 < at < 0.42 for at in slow)
    assert [at for at, _, _ in line] == sorted(at for at, _, _ in line)
    assert (
        series([(0.0, 1.0), (1.5, 2.0)], 1.0)[-1][2] == 2000.0
    )  # what was due after the end belongs to the last stretch


def test_nan_is_null_at_any_depth() -> None:
    assert null_for_nan({"a": [1, (math.nan, {"b": math.nan})], "c": "x"}) == {"a": [1, [None, {"b": None}]], "c": "x"}
