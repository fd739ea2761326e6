"""Figures that benchmarks derive from their measurements."""

from __future__ import annotations

import math

import pytest

from benchmarks.serve import mean_ms
from benchmarks.steps import carries, tokens_made


@pytest.mark.parametrize(
    ("points", "bound", "load"),
    [
        ([(0.2, 50.0), (0.4, 100.0), (0.6, 200.0)], 150.0, 0.5),  # between two points
        ([(0.2, 50.0), (0.4, 100.0)], 100.0, 0.4),
        ([(0.2, 50.0), (0.4, 100.0)], 500.0, 0.4),  # never crossed: as far as was measured
        ([(0.2, 100.0), (0.4, 300.0)], 50.0, 0.1),  # from no load at all
        ([(0.2, 50.0), (0.4, 300.0), (0.6, 40.0)], 175.0, 0.3),  # the first crossing counts
    ],
)
def test_the_load_at_which_a_curve_crosses_a_bound(
    points: list[tuple[float, float]], bound: float, load: float
) -> None:
    assert math.isclose(carries(points, bound), load)


def test_means_are_of_what_happened_between_two_looks() -> None:
    before = {'atelier_engine_seconds_sum{model="a"}': 1.0, 'atelier_engine_seconds_count{model="a"}': 10.0}
    after = {
        'atelier_engine_seconds_sum{model="a"}': 1.5,
        'atelier_engine_seconds_count{model="a"}': 110.0,
        'atelier_engine_seconds_bucket{model="a",le="1"}': 7.0,
        'atelier_answer_seconds_sum{model="a"}': 99.0,
    }
    assert math.isclose(mean_ms(before, after, "engine"), 5.0)


def test_tokens_of_all_models_are_added() -> None:
    metrics = {'atelier_items_total{model="a"}': 3.0, 'atelier_items_total{model="b"}': 4.0, "atelier_ready": 1.0}
    assert tokens_made(metrics) == 7.0
