"""The certificate of a build, and the figures of a further device class in it."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Mapping, Sequence

from export.candidates import option_of
from export.context import Build
from export.engines import Engines
from export.judge import MIN_SPEEDUP, SERVING_BATCH, Judged
from export.make_variants import Variants
from export.parity import ROWS
from export.results import DeviceResult
from handlers.certificate import (
    SERVED_VERDICTS,
    Certificate,
    Device,
    Difference,
    EngineEntry,
    FailedVariant,
    Golden,
    JudgedCandidate,
    Parity,
    Policy,
    VariantFile,
    golden_key,
)
from training.checkpoint import Meta


@dataclasses.dataclass(frozen=True)
class Findings:
    """Everything that a build found out, ready to be written."""

    made: Variants
    missing: Mapping[str, str]  # variant -> why it could not be made
    parity: Mapping[str, Sequence[Difference]]  # runtime -> FP32's differences to PyTorch
    engines: Engines
    results: Sequence[DeviceResult]


def certify(build: Build, meta: Meta, found: Findings) -> Certificate:
    """The certificate of a new bundle."""
    kind = build.kind
    certificate = Certificate(
        name=build.model.name,
        step=meta.step,
        metrics=dict(meta.metrics),
        date=today(),
        policy=Policy(MIN_SPEEDUP, SERVING_BATCH, dict(kind.budget)),
        parity=Parity(
            ROWS,
            {runtime: tuple(differences) for runtime, differences in found.parity.items()},
        ),
        variants=_variants(found.made, found.missing),
        engines={
            f"{variant}-{capability}": roles
            if isinstance(roles, str)
            else {role: EngineEntry(len(engine.data), **engine.requires) for role, engine in roles.items()}
            for (variant, capability), roles in found.engines.items()
        },
        devices={},
        golden=Golden(tuple(kind.golden_items), {}),
    )
    for result in found.results:
        certificate = add_device(certificate, result, kind.graphs.keys())
    return certificate


def add_device(certificate: Certificate, result: DeviceResult, roles: Collection[str]) -> Certificate:
    """The certificate with one device class's figures and golden hashes (replacing earlier ones of that class)."""
    hashes = {fingerprint: dict(known) for fingerprint, known in certificate.golden.sha256.items()}
    for judged in result.judged:
        if judged.verdict in SERVED_VERDICTS:
            option = option_of(judged.plan, result.device_class, roles)
            hashes.setdefault(judged.assessment.fingerprint, {})[golden_key(option)] = judged.assessment.golden
    entries = {judged.plan.id: _entry(judged) for judged in result.judged}
    said = result.final.said if result.final else ""
    device = Device(result.environment, result.quick, today(), entries, result.eager, said)
    return dataclasses.replace(
        certificate,
        devices={**certificate.devices, result.device_class: device},
        golden=dataclasses.replace(certificate.golden, sha256=hashes),
    )


def today() -> str:
    """The date of a certificate, in UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _entry(judged: Judged) -> JudgedCandidate:
    found, measured = judged.assessment, judged.assessment.measured
    return JudgedCandidate(
        verdict=judged.verdict,
        reason=judged.reason,
        quality=None if found.quality is None else dict(found.quality),
        batch_invariant=found.batch_invariant,
        load_ms=measured.load_ms if measured else None,
        peak_memory_mb=measured.peak_memory_mb if measured else None,
        speed=measured.speeds if measured else (),
    )


def _variants(made: Variants, missing: Mapping[str, str]) -> dict[str, FailedVariant | dict[str, VariantFile]]:
    baseline = {role: len(item.data) for role, item in made["fp32"].items()}
    files: dict[str, FailedVariant | dict[str, VariantFile]] = {
        variant: {
            role: VariantFile(len(item.data), round(len(item.data) / baseline[role], 4), dict(item.how))
            for role, item in roles.items()
        }
        for variant, roles in made.items()
    }
    return files | {variant: FailedVariant(reason) for variant, reason in missing.items()}
