"""One candidate assessed on this machine, and the verdict: inside the quality budget and faster, or not served."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

from export.context import Build
from export.eager import NAME, eager_opener
from export.final import Final, final
from export.measure import Contestant, MeasureError, Run, roles_opener
from export.parity import batch_invariant, reference, tapped_spec
from export.plans import REFERENCE, Plan, file_key
from export.quality import margin
from export.speed import HOPELESS, HOPELESS_BLOCKS, Measured, Wanted, compare_speed, glance
from export.to_onnx import expose_tap, tap_dtype
from handlers import generators
from handlers.certificate import BatchSpeed, Verdict
from handlers.graph_spec import GraphSpec
from handlers.runtimes.device import thread_count
from handlers.runtimes.fingerprint import engine_fingerprint
from handlers.runtimes.registry import find
from handlers.runtimes.runtime import SessionError
from handlers.runtimes.session import Session, open_session
from training import checkpoint

SERVING_BATCH = 8
BATCHES = (1, SERVING_BATCH, 32)
MIN_SPEEDUP = 1.15  # a candidate must beat the reference by this factor at the serving batch size
WANTED = Wanted(SERVING_BATCH, MIN_SPEEDUP)
QUALITY_ROWS = 256
QUALITY_SEED = 2000
INVARIANCE_SEED = 3000


@dataclasses.dataclass(frozen=True)
class Assessment:
    """The figures of a plan on this machine; `failure` is the reason when it could not be run at all.

    Of a plan that is too slow whatever its quality, there is no quality: nobody looked.
    """

    plan: Plan
    quality: dict[str, float] | None
    batch_invariant: bool | None
    measured: Measured | None
    golden: tuple[str, ...]
    fingerprint: str
    failure: str | None = None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Assessment:
        """The assessment that `dataclasses.asdict` wrote."""
        measured = raw["measured"]
        if measured is not None:
            measured = Measured(**{**measured, "speeds": speeds_from_json(measured["speeds"])})
        return cls(**{**raw, "plan": Plan(**raw["plan"]), "measured": measured, "golden": tuple(raw["golden"])})


def speeds_from_json(raw: Sequence[Mapping[str, Any]]) -> tuple[BatchSpeed, ...]:
    """The figures that `dataclasses.asdict` wrote, one for each batch size."""
    return tuple(BatchSpeed(**{**speed, "spread": tuple(speed["spread"])}) for speed in raw)


@dataclasses.dataclass(frozen=True)
class Judged:
    """An assessment with its verdict, worked out once."""

    assessment: Assessment
    verdict: Verdict
    reason: str

    @property
    def plan(self) -> Plan:
        """The candidate that was judged."""
        return self.assessment.plan

    @property
    def speedup(self) -> float:
        """Times faster than the reference at the serving batch size; only of one that ran."""
        if self.assessment.measured is None:
            raise ValueError(f"{self.plan.id} was not measured: {self.reason}")
        return self.assessment.measured.speedup(SERVING_BATCH)

    @classmethod
    def of(cls, assessment: Assessment, budget: Mapping[str, float]) -> Judged:
        """The assessment under the policy: budget, batch invariance, speed at the serving batch size."""
        return cls(assessment, *verdict(assessment, budget))

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Judged:
        """The judgement that `dataclasses.asdict` wrote."""
        return cls(Assessment.from_json(raw["assessment"]), raw["verdict"], raw["reason"])


class Judge:
    """Judges the plans of one generator on this machine, against FP32 on ONNX Runtime; use as a context manager.

    `files` are the files of every plan: by `file_key`, then by role. The reference stays open from enter to exit.
    """

    def __init__(self, build: Build, files: Mapping[str, Mapping[str, bytes]]) -> None:
        self._kind, self._model, self._wanted, self._files = build.kind, build.model, build.wanted, files
        self._here = build.here
        self._effort = build.options.effort
        self._inputs = {batch: build.kind.served_inputs(batch, QUALITY_SEED) for batch in BATCHES}
        self._stack = contextlib.ExitStack()
        self._reference: Contestant

    def __enter__(self) -> Judge:
        self._reference = self._stack.enter_context(Contestant(REFERENCE.id, self._opener(REFERENCE)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def judge(self, plan: Plan) -> Judged:
        """The assessment of a plan and the verdict on it."""
        return Judged.of(self.assess(plan), self._kind.budget)

    def assess(self, plan: Plan) -> Assessment:
        """Speed, quality, batch invariance and golden items of a plan; what cannot run is a failure, not an error.

        Speed comes first: what is hopelessly slow is not looked at further.
        """
        fingerprint = engine_fingerprint(self._here, [plan.runtime], thread_count(self._kind.resources.threads))
        try:
            with self.contestant(plan) as contestant:
                wanted = None if plan == REFERENCE else WANTED
                measured = compare_speed(contestant, self._reference, self._inputs, self._effort, wanted)
            if wanted is not None and too_slow(measured):
                return Assessment(plan, None, None, measured, (), fingerprint)
            with contextlib.ExitStack() as opened:
                sessions = self._sessions(plan, opened)
                found = self._kind.render(sessions, len(self._wanted), QUALITY_SEED)
                quality = self._kind.quality(self._wanted, found)
                invariant = all(
                    batch_invariant(graph, session, self._kind.limits.max_tile, INVARIANCE_SEED)
                    for role, graph in self._kind.graphs.items()
                    for session in (sessions[role], *self._tapped(plan, role, opened))
                )
                generator = generators.create(self._model, sessions)
                golden = tuple(generator.golden(item) for item in self._kind.golden_items)
        except (SessionError, MeasureError) as error:
            return Assessment(plan, None, None, None, (), fingerprint, str(error))
        return Assessment(plan, quality, invariant, measured, golden, fingerprint)

    def look(self, plan: Plan) -> float:
        """A first look at a plan: times the reference's speed in one block each; 0 where it does not run."""
        try:
            with self.contestant(plan) as contestant:
                return glance(contestant, self._reference, self._inputs[SERVING_BATCH], self._effort)
        except MeasureError:
            return 0.0  # it comes last, and its judgement says why

    def eager(self) -> tuple[BatchSpeed, ...]:
        """PyTorch eager beside the reference, at every batch size. Raises `MeasureError`."""
        opener = eager_opener(checkpoint.directory(self._model.name), thread_count(self._kind.resources.threads))
        with Contestant(NAME, opener) as contestant:
            return compare_speed(contestant, self._reference, self._inputs, self._effort).speeds

    def final(self, plans: Sequence[Plan]) -> Final:
        """The plans side by side at the serving batch size; given in order of preference. Raises `MeasureError`."""
        with contextlib.ExitStack() as opened:
            contestants = [opened.enter_context(self.contestant(plan)) for plan in plans]
            return final(contestants, self._inputs[SERVING_BATCH], self._effort)

    def contestant(self, plan: Plan) -> Contestant:
        """A plan in a process of its own."""
        return Contestant(plan.id, self._opener(plan))

    def _open(self, plan: Plan, data: bytes, spec: GraphSpec, opened: contextlib.ExitStack) -> Session:
        session = open_session(plan.runtime, data, spec, self._kind.resources.threads, plan.precision)
        return opened.enter_context(session)

    def _sessions(self, plan: Plan, opened: contextlib.ExitStack) -> dict[str, Session]:
        files = self._files[file_key(plan)]
        return {role: self._open(plan, files[role], graph.spec, opened) for role, graph in self._kind.graphs.items()}

    def _tapped(self, plan: Plan, role: str, opened: contextlib.ExitStack) -> list[Session]:
        """The same graph with its tap: before rounding, where the smallest difference shows (an engine has none)."""
        graph = self._kind.graphs[role]
        if find(plan.runtime).ahead_of_time or graph.tap is None:
            return []
        data = self._files[plan.variant][role]
        spec = tapped_spec(graph, reference(graph, INVARIANCE_SEED, rows=1), tap_dtype(data, graph.tap))
        return [self._open(plan, expose_tap(data, graph.tap), spec, opened)]

    def _opener(self, plan: Plan) -> Callable[[], Run]:
        roles = {role: (self._files[file_key(plan)][role], graph.spec) for role, graph in self._kind.graphs.items()}
        return roles_opener(plan.runtime, roles, self._kind.calls, self._kind.resources.threads, plan.precision)


def too_slow(measured: Measured) -> bool:
    """Whether a plan was given up on its way: even its best block was clearly behind."""
    speed = measured.at(SERVING_BATCH)
    return len(measured.speeds) == 1 and speed.blocks == HOPELESS_BLOCKS and speed.spread[1] < HOPELESS * MIN_SPEEDUP


def verdict(assessment: Assessment, budget: Mapping[str, float]) -> tuple[Verdict, str]:
    """The policy in one place: budget, batch invariance, speed at the serving batch size beyond the noise of it."""
    if assessment.failure is not None:
        return "failed", assessment.failure
    assert assessment.measured is not None
    speed = assessment.measured.at(SERVING_BATCH)
    if assessment.plan == REFERENCE:
        return "reference", f"FP32: {speed.p50_ms:.2f} ms at batch {SERVING_BATCH}"
    detail = f"{speed.speedup:.2f} times the reference's speed at batch {SERVING_BATCH}"
    if assessment.quality is None:
        return "rejected", f"{detail}: clearly not {MIN_SPEEDUP} times as fast, so its quality was not looked at"
    figures = ", ".join(f"{name} {assessment.quality[name]:.4g}" for name in budget)
    problems = []
    if not margin(assessment.quality, budget) >= 0:
        problems.append(
            "outside the budget (" + ", ".join(f"{name} at least {bound:g}" for name, bound in budget.items()) + ")"
        )
    if not assessment.batch_invariant:
        problems.append("a row's bits depend on the batch it is in")
    low, high = speed.spread or (speed.speedup, speed.speedup)
    if not high >= MIN_SPEEDUP:
        problems.append(f"not {MIN_SPEEDUP} times as fast")
    elif not low >= MIN_SPEEDUP and not problems:
        problems.append(
            f"undecided whether it is {MIN_SPEEDUP} times as fast ({low:.2f} to {high:.2f} in {speed.blocks} pairs of "
            "blocks), so the reference is kept"
        )
    return (
        ("rejected", f"{detail}; {figures}: {', '.join(problems)}") if problems else ("passed", f"{detail}; {figures}")
    )
