"""Everything that was found out, put together: certificate, choice, manifest, and the bundle on disk."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.graphs import Kind
from export.judge import MIN_SPEEDUP, REFERENCE, SERVING_BATCH, Assessment, Plan, verdict
from export.parity import ROWS, Difference
from export.to_tensorrt import EngineFile, library
from export.variants import Variant
from handlers import bundle as bundles
from handlers.bundle import Bundle, Candidate, FileSpec, Manifest
from handlers.engine.choice import golden_key
from handlers.runtimes.device import device_class, installed_version
from training import checkpoint

CERTIFICATE_FORMAT = "atelier-certificate/1"
Engines = dict[tuple[str, str], dict[str, EngineFile] | str]  # (variant, capability) -> role -> engine, or why not


@dataclasses.dataclass(frozen=True)
class DeviceResult:
    """All assessments on one device class, the reference first."""

    device_class: str
    environment: dict[str, Any]
    quick: bool
    assessments: tuple[Assessment, ...]


def assemble(
    name: str,
    meta: checkpoint.Meta,
    kind: Kind,
    kind_name: str,
    made: Mapping[str, Mapping[str, Variant]],
    missing: Mapping[str, str],
    parity: Mapping[str, Sequence[Difference]],
    results: Sequence[DeviceResult],
    engines: Engines,
) -> Bundle:
    """Write the bundle: every variant and engine as a file, every candidate with its verdict. Raises `OSError`."""
    contents: dict[str, bytes] = {}
    files: dict[str, FileSpec] = {}

    def add(identifier: str, path: str, data: bytes, precision: str) -> None:
        contents[path] = data
        files[identifier] = bundles.file_spec(path, data, precision)

    for asset, data in kind.assets.items():
        contents[f"assets/{asset}.json"] = data
        files[asset] = bundles.file_spec(f"assets/{asset}.json", data)
    for variant, roles in made.items():
        for role, item in roles.items():
            add(f"{role}-{variant}", f"files/{role}-{variant}.onnx", item.data, variant)
    candidates = device_candidates(results, kind.budget, list(kind.graphs))
    judged = {candidate.id for candidate in candidates}
    for (variant, capability), engine_roles in engines.items():
        for role, engine in engine_roles.items() if isinstance(engine_roles, dict) else ():
            identifier = f"{role}-{variant}-{capability}"
            add(identifier, f"files/{identifier}.engine", engine.data, variant)
            unmeasured = _engine_candidate(role, variant, capability, identifier, engine)
            if unmeasured.id not in judged:
                candidates.append(unmeasured)
    certificate: dict[str, Any] = {
        "format": CERTIFICATE_FORMAT,
        "name": name,
        "step": meta.step,
        "metrics": meta.metrics,
        "date": today(),
        "policy": {"min_speedup": MIN_SPEEDUP, "serving_batch": SERVING_BATCH, "budget": kind.budget},
        "parity": {
            "rows": ROWS,
            "runtimes": {runtime: [dataclasses.asdict(d) for d in found] for runtime, found in parity.items()},
        },
        "variants": _variants_section(made, missing),
        "engines": {
            f"{variant}-{capability}": roles
            if isinstance(roles, str)
            else {role: {"bytes": len(e.data), **e.requires} for role, e in roles.items()}
            for (variant, capability), roles in engines.items()
        },
        "devices": {},
        "golden": {"items": list(kind.golden_items), "sha256": {}},
    }
    for result in results:
        add_device(certificate, result, kind.budget, list(kind.graphs))
    limits = kind.limits
    reference = results[0].assessments[0]
    if not reference.batch_invariant:
        limits = dataclasses.replace(
            limits, max_tile=1
        )  # a reference whose rows depend on the batch is served row by row
    manifest = Manifest(
        name=name,
        recipe=meta.recipe,
        kind=kind_name,
        source={
            "checkpoint": next(digest for path, digest in meta.files.items() if path.startswith("model-")),
            "step": str(meta.step),
            "git_commit": meta.git_commit or "unknown",
            **{f"data_{key}": value for key, value in meta.data.items()},
        },
        graphs={role: graph.spec for role, graph in kind.graphs.items()},
        files=files,
        candidates=tuple(candidates),
        choice={r.device_class: choice_of(r, kind.budget, list(kind.graphs)) for r in results},
        params=kind.params,
        limits=limits,
        content_types=kind.content_types,
        scope=kind.scope,
        resources=kind.resources,
        example=kind.example,
        certificate=bundles.file_spec(bundles.CERTIFICATE, b""),  # until it is written
    )
    return write(manifest, certificate, contents)


def write(manifest: Manifest, certificate: dict[str, Any], contents: Mapping[str, bytes]) -> Bundle:
    """Write and read back the bundle of a manifest, with its certificate."""
    data = (json.dumps(certificate, indent=1) + "\n").encode()
    manifest = dataclasses.replace(manifest, certificate=bundles.file_spec(bundles.CERTIFICATE, data))
    path = bundles.directory(manifest.name)
    bundles.write(path, manifest, {**contents, bundles.CERTIFICATE: data})
    return bundles.read(path)


def device_candidates(
    results: Sequence[DeviceResult], budget: Mapping[str, float], roles: Sequence[str]
) -> list[Candidate]:
    """One manifest candidate per role and assessed plan; the reference, which is in every result, once."""
    candidates: dict[str, Candidate] = {}
    for result in results:
        for assessment in result.assessments:
            plan = assessment.plan
            word, reason = verdict(assessment, budget)
            where = "any" if plan == REFERENCE else result.device_class
            for role in roles:
                identifier, file = candidate_id(role, plan, where), f"{role}-{plan.variant}"
                if plan.runtime == "tensorrt":
                    file = f"{role}-{plan.variant}-{where}"
                    module, version = library() or ("tensorrt", "unknown")
                    requires = {"module": module, "version": version}
                else:
                    requires = {"module": plan.runtime.removesuffix("-cuda")}
                candidates[identifier] = Candidate(
                    identifier, role, plan.variant, file, plan.runtime, plan.precision, where, requires, word, reason
                )
    return list(candidates.values())


def candidate_id(role: str, plan: Plan, where: str) -> str:
    """The reference has one name everywhere; any other candidate is judged per device class."""
    return f"{role}-{plan.id}" if plan == REFERENCE else f"{role}-{plan.id}@{where}"


def choice_of(result: DeviceResult, budget: Mapping[str, float], roles: Sequence[str]) -> tuple[dict[str, str], ...]:
    """What is served on this device class: the passed plans, fastest first, then the reference."""
    passed = [a for a in result.assessments if verdict(a, budget)[0] == "passed"]
    fastest = sorted(passed, key=lambda a: -_speedup(a))
    plans = [*(a.plan for a in fastest), REFERENCE]
    return tuple({role: candidate_id(role, plan, result.device_class) for role in roles} for plan in plans)


def add_device(
    certificate: dict[str, Any], result: DeviceResult, budget: Mapping[str, float], roles: Sequence[str]
) -> None:
    """Put one device class's figures and golden hashes into a certificate (replacing earlier ones of that class)."""
    entries = {}
    for assessment in result.assessments:
        word, reason = verdict(assessment, budget)
        measured = assessment.measured
        entries[assessment.plan.id] = {
            "verdict": word,
            "reason": reason,
            "quality": assessment.quality,
            "batch_invariant": assessment.batch_invariant,
            "load_ms": measured.load_ms if measured else None,
            "peak_memory_mb": measured.peak_memory_mb if measured else None,
            "speed": [dataclasses.asdict(speed) for speed in measured.speeds] if measured else [],
        }
        if word in bundles.SERVED_VERDICTS:
            option = {role: candidate_id(role, assessment.plan, result.device_class) for role in roles}
            known = certificate["golden"]["sha256"].setdefault(assessment.fingerprint, {})
            known[golden_key(option)] = list(assessment.golden)
    certificate["devices"][result.device_class] = {
        "environment": result.environment,
        "quick": result.quick,
        "date": today(),
        "candidates": entries,
    }


def _engine_candidate(role: str, variant: str, capability: str, file: str, engine: EngineFile) -> Candidate:
    reason = f"built ahead of time for {capability}, not measured: run `export build --remeasure` on such a GPU"
    identifier = f"{role}-{variant}-tensorrt@{capability}"
    return Candidate(
        identifier, role, variant, file, "tensorrt", "f32", capability, engine.requires, "rejected", reason
    )


def _variants_section(made: Mapping[str, Mapping[str, Variant]], missing: Mapping[str, str]) -> dict[str, Any]:
    baseline = {role: len(item.data) for role, item in made["fp32"].items()}
    section: dict[str, Any] = {
        variant: {
            role: {"bytes": len(item.data), "size_ratio": round(len(item.data) / baseline[role], 4), "how": item.how}
            for role, item in roles.items()
        }
        for variant, roles in made.items()
    }
    return section | {variant: {"failed": reason} for variant, reason in missing.items()}


def _speedup(assessment: Assessment) -> float:
    assert assessment.measured is not None
    return assessment.measured.speedup(SERVING_BATCH)


def today() -> str:
    """The date of a certificate, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def environment() -> dict[str, Any]:
    """The machine and the versions that the figures hold for."""
    packages = {"torch": "torch", "onnx": "onnx", "onnxscript": "onnxscript", "numpy": "numpy", "pillow": "PIL"}
    packages |= {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt_rtx": "tensorrt_rtx"}
    found = [package for package, module in packages.items() if importlib.util.find_spec(module) is not None]
    return {
        "device_class": device_class(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {package: installed_version(package) for package in found},
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
