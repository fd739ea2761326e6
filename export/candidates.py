"""The manifest's candidates and choice, from what was judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from export.engines import Engines
from export.plans import REFERENCE, Plan
from export.results import DeviceResult
from handlers.manifest import Candidate
from handlers.runtimes.registry import find
from handlers.runtimes.tensorrt import RUNTIME


def judged_candidates(results: Sequence[DeviceResult], roles: Collection[str]) -> list[Candidate]:
    """One candidate per role and judged plan; the reference, which is in every result, once."""
    candidates: dict[str, Candidate] = {}
    for result in results:
        for judged in result.judged:
            plan = judged.plan
            where = "any" if plan == REFERENCE else result.device_class
            for role in roles:
                identifier, file = candidate_id(role, plan, where), f"{role}-{plan.variant}"
                runtime = find(plan.runtime)
                if runtime.ahead_of_time:
                    file = engine_file(role, plan.variant, where)
                candidates[identifier] = Candidate(
                    id=identifier,
                    role=role,
                    variant=plan.variant,
                    file=file,
                    runtime=plan.runtime,
                    precision=plan.precision,
                    device_class=where,
                    requires=runtime.requires(),
                    verdict=judged.verdict,
                    reason=judged.reason,
                )
    return list(candidates.values())


def unmeasured_candidates(engines: Engines, judged: Collection[str]) -> list[Candidate]:
    """The engines that were built for other machines than this one: those whose identifiers are not in `judged`."""
    found = []
    for (variant, capability), roles in engines.items():
        for role, engine in roles.items() if isinstance(roles, dict) else ():
            identifier = candidate_id(role, Plan(variant, RUNTIME.name), capability)
            if identifier not in judged:
                candidate = Candidate(
                    id=identifier,
                    role=role,
                    variant=variant,
                    file=engine_file(role, variant, capability),
                    runtime=RUNTIME.name,
                    precision="f32",
                    device_class=capability,
                    requires=engine.requires,
                    verdict="rejected",
                    reason=f"built ahead of time for {capability}, not measured: "
                    "run `export build --remeasure` on such a GPU",
                )
                found.append(candidate)
    return found


def engine_file(role: str, variant: str, capability: str) -> str:
    """The identifier of an engine's file in the bundle."""
    return f"{role}-{variant}-{capability}"


def candidate_id(role: str, plan: Plan, where: str) -> str:
    """The reference has one name everywhere; any other candidate is judged per device class."""
    return f"{role}-{plan.id}" if plan == REFERENCE else f"{role}-{plan.id}@{where}"


def option_of(plan: Plan, where: str, roles: Collection[str]) -> dict[str, str]:
    """The candidates of a plan on a device class, by role."""
    return {role: candidate_id(role, plan, where) for role in roles}


def choice_of(result: DeviceResult, roles: Collection[str]) -> tuple[dict[str, str], ...]:
    """The candidates to serve on this device class: of the passed plans, fastest first, then the reference."""
    return tuple(option_of(plan, result.device_class, roles) for plan in (*result.served, REFERENCE))
