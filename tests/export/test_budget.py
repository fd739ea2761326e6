"""A build's time: the most promising begin within it, what does not is told and not noted; the clock is scripted."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from export.budget import OUT_OF_TIME, start
from export.judge import Assessment, Judged
from export.make_variants import make_variants
from export.notebook import Notebook
from export.options import MINUTES, QUICK_MINUTES, Options
from export.plans import REFERENCE, Plan
from export.results import recall_or_judge
from export.speed import Effort, glance
from export.turns import in_turn
from export.variants import Variant
from handlers.runtimes.device import Machine

SLOW, FAST, BROKEN = (Plan(name, "openvino") for name in ("fp32", "int8_static", "fp16"))
PLANS = [REFERENCE, SLOW, BROKEN, FAST]


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr("export.budget.now", found)
    return found


class Judging:
    """A judge that takes 30 s for a plan and 1 s for a look."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.looked: list[Plan] = []
        self.judged: list[Plan] = []

    def judge(self, plan: Plan) -> Judged:
        self.judged.append(plan)
        self.clock.seconds += 30
        return Judged(Assessment(plan, None, None, None, (), "engine", "no kernel"), "failed", "no kernel")

    def look(self, plan: Plan) -> float:
        self.looked.append(plan)
        self.clock.seconds += 1
        return {SLOW: 1.1, FAST: 3.0, BROKEN: 0.0}[plan]


def working(folder: Path, minutes: float) -> Any:
    return SimpleNamespace(
        notebook=Notebook(folder), here=Machine("avx2"), budget=start(minutes), say=lambda _: None, runtimes=()
    )


def turns(build: Any, judge: Any) -> list[Judged]:
    return [recall_or_judge(build, judge, plan) for plan in in_turn(build, judge, PLANS)]


def test_a_budget_is_of_minutes_and_half_of_it_is_for_making(clock: Clock) -> None:
    budget, endless = start(2), start(0)
    assert (budget.left, budget.may_make, budget.may_judge) == (120, True, True)
    clock.seconds += 60
    assert (budget.may_make, budget.may_judge) == (False, True)
    clock.seconds += 60
    assert (budget.may_judge, endless.may_make, endless.may_judge) == (False, True, True)
    assert (Options().bound, Options(quick=True).bound, Options(minutes=0).bound) == (MINUTES, QUICK_MINUTES, 0)


def test_where_time_does_for_all_nobody_takes_a_look(tmp_path: Path, clock: Clock) -> None:
    judge = Judging(clock)
    turns(working(tmp_path, 20), judge)
    assert (judge.judged, judge.looked) == (PLANS, [])


def test_where_it_does_not_the_fastest_at_a_look_come_first_and_the_rest_is_told(tmp_path: Path, clock: Clock) -> None:
    judge = Judging(clock)
    found = turns(working(tmp_path, 1.5), judge)  # 30 s, 3 looks, 30 s, and one that begins with 27 s left
    assert judge.looked == [SLOW, BROKEN, FAST]
    assert judge.judged == [REFERENCE, FAST, SLOW]
    assert (found[-1].plan, found[-1].verdict) == (BROKEN, "rejected")
    assert found[-1].reason == OUT_OF_TIME.format("measured")
    with pytest.raises(ValueError, match="fp16-openvino was not measured: the build's time was used up"):
        _ = found[-1].speedup
    again = turns(working(tmp_path, 1.5), judge)  # the same folder: it goes on
    assert judge.judged == [REFERENCE, FAST, SLOW, BROKEN]
    assert len(judge.looked) == 3
    assert [judged.reason for judged in again] == ["no kernel"] * 4


def test_the_reference_is_judged_whatever_the_time(tmp_path: Path, clock: Clock) -> None:
    build, judge = working(tmp_path, 1), Judging(clock)
    clock.seconds += 1000
    found = turns(build, judge)
    assert judge.judged == [REFERENCE]
    assert judge.looked == []
    assert {judged.plan for judged in found[1:]} == {SLOW, FAST, BROKEN}


def test_no_form_begins_after_half_of_the_time_and_another_build_makes_the_rest(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def make(name: str, *_: Any) -> Variant:
        made.append(name)
        clock.seconds += 40
        return Variant(name.encode(), {})

    monkeypatch.setattr("export.make_variants.make", make)
    monkeypatch.setattr("export.make_variants.check_finite", lambda *_: None)

    def forms() -> tuple[list[str], dict[str, str]]:
        build = working(tmp_path, 1)
        build.kind = SimpleNamespace(graphs={"step": SimpleNamespace(example=lambda count, seed: {})})
        build.options, build.fp32 = Options(("fp32", "fp32_rewritten", "fp16")), {"step": b"graph"}
        found, missing = make_variants(build)
        return list(found), missing

    reason = OUT_OF_TIME.format("made")
    assert forms() == (["fp32"], {"fp32_rewritten": reason, "fp16": reason})
    assert forms() == (["fp32", "fp32_rewritten"], {"fp16": reason})
    assert forms() == (["fp32", "fp32_rewritten", "fp16"], {})
    assert made == ["fp32", "fp32_rewritten", "fp16"]


class Timed:
    """A contestant whose runs all take `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.blocks: list[float] = []

    def run(self, inputs: Any, seconds: float) -> list[float]:
        self.blocks.append(seconds)
        return [self.seconds] * 3


def test_a_look_is_one_pair_of_blocks() -> None:
    candidate, reference = Timed(0.002), Timed(0.005)
    first: Any = candidate
    second: Any = reference
    assert glance(first, second, {}, Effort(block_seconds=0.01)) == 2.5
    assert candidate.blocks == reference.blocks == [0.0, 0.01]
