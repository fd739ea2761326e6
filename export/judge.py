"""One candidate assessed on this machine, and the verdict: inside the quality budget and faster, or not served."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from numpy.typing import NDArray

from export.context import Build
from export.measure import QUICK, Contestant, Effort, Measured, MeasureError, compare_speed
from export.parity import batch_invariant, reference, tapped_spec
from export.plans import REFERENCE, Plan, file_key
from export.quality import margin
from export.to_onnx import expose_tap, tap_dtype
from handlers import generators
from handlers.certificate import BatchSpeed, Verdict
from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.device import thread_count
from handlers.runtimes.fingerprint import engine_fingerprint
from handlers.runtimes.registry import find
from handlers.runtimes.runtime import SessionError
from handlers.runtimes.session import Session, open_session

SERVING_BATCH = 8
BATCHES = (1, SERVING_BATCH, 32)
MIN_SPEEDUP = 1.15  # a candidate must beat the reference by this factor at the serving batch size
QUALITY_ROWS = 256
QUALITY_SEED = 2000
INVARIANCE_SEED = 3000


@dataclasses.dataclass(frozen=True)
class Assessment:
    """The figures of a plan on this machine; `failure` is the reason when it could not be run at all."""

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
            measured = Measured(**{**measured, "speeds": tuple(BatchSpeed(**speed) for speed in measured["speeds"])})
        return cls(**{**raw, "plan": Plan(**raw["plan"]), "measured": measured, "golden": tuple(raw["golden"])})


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
        self._effort = QUICK if build.options.quick else Effort()
        self._inputs = {
            batch: {role: graph.example(batch, QUALITY_SEED) for role, graph in build.kind.graphs.items()}
            for batch in BATCHES
        }
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
        """Quality, batch invariance, speed and golden items of a plan; what cannot run is a failure, not an error."""
        try:
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
            with Contestant(plan.id, self._opener(plan)) as contestant:
                measured = compare_speed(contestant, self._reference, self._inputs, self._effort)
        except (SessionError, MeasureError) as error:
            return Assessment(plan, None, None, None, (), self._fingerprint(plan), str(error))
        return Assessment(plan, quality, invariant, measured, golden, self._fingerprint(plan))

    def _fingerprint(self, plan: Plan) -> str:
        return engine_fingerprint(self._here, [plan.runtime], thread_count(self._kind.resources.threads))

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

    def _opener(self, plan: Plan) -> Callable[[], Callable[[Any], Any]]:
        roles = {role: (self._files[file_key(plan)][role], graph.spec) for role, graph in self._kind.graphs.items()}
        return functools.partial(
            _open_roles, plan.runtime, roles, dict(self._kind.calls), self._kind.resources.threads, plan.precision
        )


def _open_roles(
    runtime: str, roles: Mapping[str, tuple[bytes, Any]], calls: Mapping[str, int], threads: int, precision: Precision
) -> Callable[[Any], Any]:
    """In the child: every role opened once; a run computes each of them as often as one request does."""
    sessions = {role: open_session(runtime, model, spec, threads, precision) for role, (model, spec) in roles.items()}

    def run(inputs: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, Any]:
        for role, session in sessions.items():
            for _ in range(calls.get(role, 1) - 1):
                session.run(inputs[role])
        return {role: session.run(inputs[role]) for role, session in sessions.items()}

    return run


def verdict(assessment: Assessment, budget: Mapping[str, float]) -> tuple[Verdict, str]:
    """The policy in one place: budget, batch invariance, speed at the serving batch size."""
    if assessment.failure is not None:
        return "failed", assessment.failure
    assert assessment.quality is not None
    assert assessment.measured is not None
    speedup = assessment.measured.speedup(SERVING_BATCH)
    figures = ", ".join(f"{name} {assessment.quality[name]:.4g}" for name in budget)
    if assessment.plan == REFERENCE:
        p50 = next(s.p50_ms for s in assessment.measured.speeds if s.batch == SERVING_BATCH)
        return "reference", f"FP32: {p50:.2f} ms at batch {SERVING_BATCH}"
    detail = f"{speedup:.2f} times the reference's speed at batch {SERVING_BATCH}; {figures}"
    problems = []
    if not margin(assessment.quality, budget) >= 0:
        problems.append(
            "outside the budget (" + ", ".join(f"{name} at least {bound:g}" for name, bound in budget.items()) + ")"
        )
    if not assessment.batch_invariant:
        problems.append("a row's bits depend on the batch it is in")
    if not speedup >= MIN_SPEEDUP:
        problems.append(f"not {MIN_SPEEDUP} times as fast")
    return ("rejected", f"{detail}: {', '.join(problems)}") if problems else ("passed", detail)
