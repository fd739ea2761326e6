"""In which order candidates are judged: where the time may not do for all, the fastest at a first look come first."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence

from export import budget
from export.budget import OUT_OF_TIME, left_out
from export.context import Build
from export.judge import Assessment, Judge, Judged
from export.plans import REFERENCE, Plan, place

DEARER = 3.0  # than judging the reference: what lies within noise takes up to three times as many pairs of blocks


def in_turn(build: Build, judge: Judge, plans: Sequence[Plan]) -> Iterator[Plan]:
    """The plans, each to be judged before the next is asked for; the reference first, whose judgement tells the costs.

    A look costs the opening of a candidate, so it is taken only where `DEARER` times those costs do not fit.
    """
    began = budget.now()
    yield REFERENCE
    took = build.notebook.recalled("reference-seconds", lambda: budget.now() - began)
    rest = [plan for plan in plans if plan != REFERENCE]
    unknown = [plan for plan in rest if build.notebook.recall(note(build, plan)) is None]
    if DEARER * took * len(unknown) < build.budget.left:
        yield from rest
        return
    if unknown and build.budget.may_judge:
        build.say(f"  the time may not do for {len(unknown)} candidates: a short look at each says which come first")
    ratios: dict[Plan, float] = {}
    for plan in unknown:
        if build.budget.may_judge:
            look = functools.partial(judge.look, plan)
            ratios[plan] = build.notebook.recalled(f"look-{note(build, plan)}", look)
    yield from (plan for plan in rest if plan not in unknown)
    yield from sorted(unknown, key=lambda plan: -ratios.get(plan, 0.0))


def note(build: Build, plan: Plan) -> str:
    """The name that the judgement of a plan on this machine is noted under."""
    return f"{plan.id}@{place(plan, build.here)}"


def without_time(plan: Plan) -> Judged:
    """What is said of a plan that was left out for want of time; it is not noted, so another build goes on with it."""
    return Judged(Assessment(plan, None, None, None, (), ""), "rejected", OUT_OF_TIME.format("measured"))


def told_left_out(build: Build, missing: Mapping[str, str], judged: Sequence[Judged]) -> bool:
    """Whether something was left out for want of time, in which case a line names it."""
    names = [f"the form {name}" for name, reason in missing.items() if left_out(reason)]
    names += [found.plan.id for found in judged if left_out(found.reason)]
    if names:
        build.say(
            f"  left out, the time of {build.budget.minutes:g} minutes was used up: {', '.join(names)}; the same "
            "command with more --minutes goes on with them"
        )
    return bool(names)
