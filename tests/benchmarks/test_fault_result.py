"""What is lost is counted against the server, unless somebody killed the process that held it."""

from __future__ import annotations

import pytest

from benchmarks.fault_result import FaultResult


@pytest.mark.parametrize(("sudden", "wanted"), [(False, (3, 0)), (True, (0, 3))])
def test_what_a_killed_process_held_is_counted_apart(sudden: bool, wanted: tuple[int, int]) -> None:
    outcome = FaultResult("a fault", {"200": 9, "503": 2, "refused": 5, "lost": 3}, 1.0, sudden)
    assert (outcome.lost, outcome.lost_in_flight) == wanted
    none = FaultResult("a fault", {"200": 9}, 1.0, sudden)
    assert (none.lost, none.lost_in_flight) == (0, 0)
