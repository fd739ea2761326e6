"""Every plan judged on this machine, and what was found sorted by device class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from export.context import Build
from export.environment import environment
from export.judge import Judge, Judged
from export.plans import REFERENCE, Plan, place
from handlers.runtimes.runtime import SessionError


@dataclasses.dataclass(frozen=True)
class DeviceResult:
    """All judgements on one device class, the reference's first."""

    device_class: str
    environment: dict[str, Any]
    quick: bool
    judged: tuple[Judged, ...]


def judge_all(build: Build, files: Mapping[str, Mapping[str, bytes]], plans: Sequence[Plan]) -> list[DeviceResult]:
    """Judge every plan on this machine, one line each: a result for its CPU, and one for its GPU if plans ran there.

    `files` are the files of every plan: by `file_key`, then by role. Raises `SessionError` when not even the reference
    runs, `MeasureError` when it does not open in a process of its own.
    """
    judged: list[Judged] = []
    bar = tqdm(plans, desc="judging", unit="candidate", leave=False, dynamic_ncols=True, disable=None)
    with bar, Judge(build, files) as judge:
        for plan in bar:
            bar.set_postfix_str(plan.id)
            found = recall_or_judge(build, judge, plan)
            with bar.external_write_mode():
                build.say(f"  {plan.id}: {found.verdict}: {found.reason}")
            if plan == REFERENCE and found.verdict == "failed":
                raise SessionError(f"the FP32 reference does not run: {found.reason}")
            judged.append(found)
    places: dict[str, list[Judged]] = {}
    for found in judged:
        places.setdefault(place(found.plan, build.here), []).append(found)
    reference = next(found for found in judged if found.plan == REFERENCE)
    return [
        DeviceResult(
            where, environment(build.here), build.options.quick, (reference, *(j for j in here if j is not reference))
        )
        for where, here in places.items()
    ]


def recall_or_judge(build: Build, judge: Judge, plan: Plan) -> Judged:
    """The noted judgement of a plan, or a fresh one, which is noted."""
    name = f"{plan.id}@{place(plan, build.here)}"
    return Judged.from_json(build.notebook.recalled(name, lambda: dataclasses.asdict(judge.judge(plan))))
