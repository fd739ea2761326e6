"""Every plan judged on this machine, and what was found sorted by device class."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from export.context import Build
from export.environment import environment
from export.final import Final, finalists
from export.judge import Judge, Judged, speeds_from_json
from export.measure import MeasureError
from export.plans import REFERENCE, Plan, place
from export.turns import in_turn, note, without_time
from handlers.certificate import BatchSpeed
from handlers.runtimes.runtime import SessionError


@dataclasses.dataclass(frozen=True)
class DeviceResult:
    """All judgements on one device class, the reference's first."""

    device_class: str
    environment: dict[str, Any]
    quick: bool
    judged: tuple[Judged, ...]
    eager: tuple[BatchSpeed, ...] = ()  # PyTorch eager beside the reference, on the CPU
    final: Final | None = None  # of the fastest, side by side

    @property
    def served(self) -> list[Plan]:
        """The plans that passed, in the order in which they are to be served; the reference is behind them."""
        passed = sorted((j for j in self.judged if j.verdict == "passed"), key=lambda j: -j.speedup)
        order = self.final.order if self.final else ()
        first = [j.plan for name in order for j in passed if j.plan.id == name]
        return [*first, *(j.plan for j in passed if j.plan not in first)]


def judge_all(build: Build, files: Mapping[str, Mapping[str, bytes]], plans: Sequence[Plan]) -> list[DeviceResult]:
    """Judge every plan on this machine, one line each: a result for its CPU, and one for its GPU if plans ran there.

    `files` are the files of every plan: by `file_key`, then by role. Raises `SessionError` when not even the reference
    runs, `MeasureError` when it does not open in a process of its own.
    """
    judged: list[Judged] = []
    began = time.monotonic()
    bar = tqdm(total=len(plans), desc="judging", unit="candidate", leave=False, dynamic_ncols=True, disable=None)
    with bar, Judge(build, files) as judge:
        for number, plan in enumerate(in_turn(build, judge, plans), 1):
            bar.set_postfix_str(plan.id)
            found = recall_or_judge(build, judge, plan)
            bar.update()
            with bar.external_write_mode():
                so_far = f"{number} of {len(plans)}, {time.monotonic() - began:.0f} s"
                build.say(f"  {plan.id}: {found.verdict}: {found.reason} ({so_far})")
            if plan == REFERENCE and found.verdict == "failed":
                raise SessionError(f"the FP32 reference does not run: {found.reason}")
            judged.append(found)
        judged.sort(key=lambda found: plans.index(found.plan))
        places: dict[str, list[Judged]] = {}
        for found in judged:
            places.setdefault(place(found.plan, build.here), []).append(found)
        eager = _eager(build, judge) if len(plans) > 1 else ()
        finals = {where: _final(build, judge, where, here) for where, here in places.items()}
    reference = next(found for found in judged if found.plan == REFERENCE)
    return [
        DeviceResult(
            where,
            environment(build.here),
            build.options.quick,
            (reference, *(j for j in here if j is not reference)),
            eager if where == build.here.cpu else (),
            finals[where],
        )
        for where, here in places.items()
    ]


def _eager(build: Build, judge: Judge) -> tuple[BatchSpeed, ...]:
    """PyTorch eager's figures, noted; none, and a line, where it cannot be run in a process of its own."""
    try:
        raw = build.notebook.recalled("eager", lambda: [dataclasses.asdict(speed) for speed in judge.eager()])
    except MeasureError as error:
        build.say(f"  PyTorch eager could not be timed: {error}")
        return ()
    return speeds_from_json(raw)


def _final(build: Build, judge: Judge, where: str, judged: Sequence[Judged]) -> Final | None:
    """How the fastest of a device class come out side by side; None where there are not several, or one of them fails.

    They are given in the order of the plans, in which the nearest to the reference comes first.
    """
    names = finalists([(found.plan.id, found.speedup) for found in judged if found.verdict == "passed"])
    plans = [found.plan for found in judged if found.plan.id in names]
    if len(plans) < 2:
        return None
    try:
        name = f"final@{where}-{'+'.join(plan.id for plan in plans)}"  # a build that goes on may have others
        raw = build.notebook.recalled(name, lambda: dataclasses.asdict(judge.final(plans)))
    except MeasureError as error:
        build.say(f"  the fastest could not be timed side by side: {error}")
        return None
    found = Final(tuple(raw["order"]), raw["said"])
    build.say(f"  {found.said}")
    return found


def recall_or_judge(build: Build, judge: Judge, plan: Plan) -> Judged:
    """The noted judgement of a plan, or a fresh one, which is noted, or that there was no time for it."""
    name = note(build, plan)
    if plan != REFERENCE and not build.budget.may_judge and build.notebook.recall(name) is None:
        return without_time(plan)
    return Judged.from_json(build.notebook.recalled(name, lambda: dataclasses.asdict(judge.judge(plan))))
