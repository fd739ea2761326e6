"""Checkpoint -> bundle: export, compare with PyTorch, measure, choose, write. Everything is judged before anything is written."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.util
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

from export import graphs
from export.graphs import Kind
from export.measure import Contestant, measure
from export.parity import Difference, batch_invariant, compare, reference, tapped_spec
from export.to_onnx import expose_tap, onnx_from_graph
from handlers import bundle as bundles
from handlers import generators
from handlers.bundle import Bundle, Candidate, FileSpec, Manifest, Runtime, Verdict
from handlers.device import device_class, engine_fingerprint, installed_version
from handlers.sessions import RUNTIMES, open_session
from training import checkpoint, recipes

CERTIFICATE_FORMAT = "atelier-certificate/1"
PARITY_SEED = 1000
BATCHES = (1, 8, 32)
SERVING_BATCH = 8
REFERENCE_RUNTIME = "onnxruntime"
MIN_SPEEDUP = 1.15  # a candidate must beat the reference by this factor at the serving batch size

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Judged:
    """One candidate with everything that was found out about it."""

    candidate: Candidate
    parity: list[Difference]
    batch_invariant: bool
    speeds: list[Any]
    golden: list[str]
    fingerprint: str


def build(name: str, say: Say = print) -> Bundle:
    """Build the bundle of the checkpoint called `name`.

    Raises `CheckpointError`, `ParityError`, `MeasureError` or `OSError`; then no bundle appears, and one that was
    there stays as it was.
    """
    source = checkpoint.directory(name)
    meta = checkpoint.read(source)
    recipe = recipes.find(meta.recipe)
    _, module = recipe.load().load_generator(source)
    kind = graphs.load(recipe.kind, module)
    say(f"{name}: {meta.recipe} at step {meta.step}, kind {recipe.kind}")
    files = {f"{role}-fp32": onnx_from_graph(graph) for role, graph in kind.graphs.items()}
    say("exported " + ", ".join(f"{role} ({len(files[f'{role}-fp32']):,} bytes)" for role in kind.graphs))
    judged = _judge(kind, files, say, _provisional(name, meta, recipe.kind, kind, files))
    return _write(name, meta, recipe.kind, kind, files, judged, say)


def _judge(kind: Kind, files: dict[str, bytes], say: Say, draft: Manifest) -> list[Judged]:
    runtimes = [runtime for runtime in RUNTIMES if importlib.util.find_spec(runtime) is not None]
    for missing in sorted(set(RUNTIMES) - set(runtimes)):
        say(f"{missing} is not installed, so it is no candidate; pip install -r requirements/export.txt")
    judged: list[Judged] = []
    for role, graph in kind.graphs.items():
        data = files[f"{role}-fp32"]
        expected = reference(graph, PARITY_SEED)
        speeds = measure(
            {runtime: Contestant(runtime, data, graph.spec, kind.resources.threads) for runtime in runtimes},
            {batch: graph.example(batch, PARITY_SEED) for batch in BATCHES},
        )
        for runtime in runtimes:
            tapped = open_session(
                runtime, expose_tap(data, graph.tap), tapped_spec(graph, expected), kind.resources.threads
            )
            parity = compare(graph, tapped, expected, PARITY_SEED)
            session = open_session(runtime, data, graph.spec, kind.resources.threads)
            invariant = batch_invariant(graph, session, kind.limits["max_tile"], PARITY_SEED)
            generator = generators.create(Bundle(Path(), draft, "0" * 64, {}), {role: session})
            candidate = _verdict(role, runtime, invariant, speeds)
            say(f"  {candidate.id}: {candidate.verdict}: {candidate.reason}")
            judged.append(
                Judged(
                    candidate,
                    parity,
                    invariant,
                    speeds[runtime],
                    [generator.golden(item) for item in kind.golden_items],
                    engine_fingerprint([runtime]),
                )
            )
    return judged


def _verdict(role: str, runtime: Runtime, invariant: bool, speeds: dict[str, list[Any]]) -> Candidate:
    def candidate(where: str, verdict: Verdict, reason: str) -> Candidate:
        identifier = f"{role}-fp32-{runtime}"
        return Candidate(identifier, role, f"{role}-fp32", runtime, where, {"module": runtime}, verdict, reason)

    p50 = {name: {s.batch: s.p50_ms for s in values}[SERVING_BATCH] for name, values in speeds.items()}
    here = device_class()
    if runtime == REFERENCE_RUNTIME:
        return candidate("any", "reference", f"the FP32 reference: {p50[runtime]:.2f} ms at batch {SERVING_BATCH}")
    if not invariant:
        return candidate(here, "rejected", "a row's bits depend on the batch it is in")
    speedup = p50[REFERENCE_RUNTIME] / p50[runtime]
    detail = f"{speedup:.2f} times the reference's speed at batch {SERVING_BATCH} ({p50[runtime]:.2f} ms)"
    if speedup < MIN_SPEEDUP:
        return candidate(here, "rejected", f"{detail}, wanted at least {MIN_SPEEDUP}")
    return candidate(here, "passed", detail)


def _provisional(name: str, meta: checkpoint.Meta, kind_name: str, kind: Kind, files: dict[str, bytes]) -> Manifest:
    """A manifest good enough to run a generator with, before anything is judged."""
    specs = {key: bundles.file_spec(f"files/{key}.onnx", data, "fp32") for key, data in files.items()}
    candidates = tuple(
        Candidate(f"{role}-fp32-{REFERENCE_RUNTIME}", role, f"{role}-fp32", "onnxruntime", "any", {}, "reference", "")
        for role in kind.graphs
    )
    return Manifest(
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
        files=specs,
        candidates=candidates,
        choice={},
        params=kind.params,
        limits=kind.limits,
        content_types=kind.content_types,
        scope=kind.scope,
        resources=kind.resources,
        example=kind.example,
        certificate=FileSpec(bundles.CERTIFICATE, "0" * 64),
    )


def _write(
    name: str,
    meta: checkpoint.Meta,
    kind_name: str,
    kind: Kind,
    files: dict[str, bytes],
    judged: list[Judged],
    say: Say,
) -> Bundle:
    certificate = (json.dumps(_certificate(name, meta, kind, judged), indent=1) + "\n").encode()
    passed = [j for j in judged if j.candidate.verdict == "passed"]
    fastest = sorted(passed, key=lambda j: next(s.p50_ms for s in j.speeds if s.batch == SERVING_BATCH))
    references = {j.candidate.role: j.candidate.id for j in judged if j.candidate.verdict == "reference"}
    choice = [{**references, j.candidate.role: j.candidate.id} for j in fastest] + [references]
    limits = dict(kind.limits)
    if not all(j.batch_invariant for j in judged if j.candidate.verdict == "reference"):
        limits["max_tile"] = 1  # a reference whose rows depend on the batch is served row by row
    manifest = dataclasses.replace(
        _provisional(name, meta, kind_name, kind, files),
        candidates=tuple(j.candidate for j in judged),
        choice={device_class(): tuple(choice)},
        limits=limits,
        certificate=bundles.file_spec(bundles.CERTIFICATE, certificate),
    )
    contents = {manifest.files[key].path: data for key, data in files.items()} | {bundles.CERTIFICATE: certificate}
    path = bundles.directory(name)
    bundles.write(path, manifest, contents)
    bundle = bundles.read(path)
    say(f"{path}: version {bundle.version}, serving {', '.join(choice[0].values())} on {device_class()}")
    return bundle


def _certificate(name: str, meta: checkpoint.Meta, kind: Kind, judged: list[Judged]) -> dict[str, Any]:
    return {
        "format": CERTIFICATE_FORMAT,
        "name": name,
        "step": meta.step,
        "metrics": meta.metrics,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "environment": environment(),
        "policy": {"min_speedup": MIN_SPEEDUP, "serving_batch": SERVING_BATCH},
        "parity_inputs": {"rows": 64, "first_seed": PARITY_SEED},
        "candidates": {
            j.candidate.id: {
                "verdict": j.candidate.verdict,
                "reason": j.candidate.reason,
                "parity": [dataclasses.asdict(d) for d in j.parity],
                "batch_invariant": j.batch_invariant,
                "speed": [dataclasses.asdict(s) for s in j.speeds],
            }
            for j in judged
        },
        "golden": {"items": list(kind.golden_items), "sha256": {j.fingerprint: j.golden for j in judged}},
    }


def environment() -> dict[str, Any]:
    """The machine and the versions that the figures hold for."""
    packages = [p for p in ("torch", "onnx", "onnxscript", "numpy", "pillow", *RUNTIMES) if _installed(p)]
    return {
        "device_class": device_class(),
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {package: installed_version(package) for package in packages},
    }


def _installed(package: str) -> bool:
    return importlib.util.find_spec({"pillow": "PIL"}.get(package, package)) is not None


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
