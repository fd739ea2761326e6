"""Checkpoint -> bundle: export, compare with PyTorch, try every variant in every runtime, judge, write.

Everything is judged before anything is written. What was found out is noted under artifacts/builds/NAME, so that an
interrupted build goes on at the missing candidate.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from export import graphs
from export.assemble import DeviceResult, Engines, assemble, environment
from export.graphs import Graph, Kind
from export.judge import QUALITY_ROWS, QUALITY_SEED, REFERENCE, Assessment, Judge, Notebook, Plan, place, verdict
from export.measure import QUICK, Effort
from export.parity import ROWS, Difference, compare, reference, tapped_spec
from export.quality import margin
from export.quantize import Score, VariantError
from export.to_onnx import expose_tap, onnx_from_graph
from export.to_tensorrt import CAPABILITIES, build_engine, library
from export.variants import CALIBRATION_SEED, RUNTIMES_OF, VARIANTS, Variant, make
from handlers.bundle import Bundle, Runtime
from handlers.generator import Model
from handlers.runtimes import cuda
from handlers.runtimes.device import device_class, installed_version
from handlers.runtimes.session import SessionError, first_line, open_session
from training import checkpoint, recipes

NOTES = Path("artifacts/builds")
PARITY_SEED = 1000
CALIBRATION_ROWS = 128
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino", "tensorrt", "onnxruntime-cuda")

Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Options:
    """What is tried, and how long it is looked at."""

    variants: tuple[str, ...] = VARIANTS
    runtimes: tuple[str, ...] = RUNTIMES
    quick: bool = False
    calibration: int = CALIBRATION_ROWS

    def __post_init__(self) -> None:
        for what, given, known in (("variants", self.variants, VARIANTS), ("runtimes", self.runtimes, RUNTIMES)):
            odd = sorted(set(given) - set(known))
            if odd:
                raise VariantError(f"--{what} names {', '.join(odd)}; known: {', '.join(known)}")


def build(name: str, options: Options = Options(), say: Say = print) -> Bundle:
    """Build the bundle of the checkpoint called `name`.

    Raises `CheckpointError`, `ParityError`, `SessionError`, `MeasureError` or `OSError`; then no bundle appears, and one
    that was there stays as it was.
    """
    source = checkpoint.directory(name)
    recipe = recipes.find(checkpoint.read(source).recipe)
    meta, module = recipe.load().load_generator(source)  # meta and weights of one and the same checkpoint
    kind = graphs.load(recipe.kind, module)
    say(f"{name}: {meta.recipe} at step {meta.step}, kind {recipe.kind}, on {device_class()}")
    runtimes = _installed(options.runtimes, say)
    notebook = Notebook(_notes(name, meta, options, runtimes))
    fp32 = {role: onnx_from_graph(graph) for role, graph in kind.graphs.items()}
    parity = {runtime: _parity(kind, fp32, runtime) for runtime in runtimes if runtime in ("onnxruntime", "openvino")}
    wanted = _render_torch(kind)
    made, missing = _variants(kind, fp32, wanted, options, runtimes, notebook, say)
    files = {variant: {role: made[variant][role].data for role in kind.graphs} for variant in made}
    engines = _engines(kind, files, runtimes, say)
    plans = _plans(list(made), runtimes)
    for (variant, capability), roles in engines.items():
        if capability == cuda.compute_capability() and not isinstance(roles, str):
            files[f"{variant}-tensorrt"] = {role: engine.data for role, engine in roles.items()}
            plans.append(Plan(variant, "tensorrt"))
    results = judge_all(kind, kind.model(name, recipe.kind), files, wanted, plans, notebook, options, say)
    bundle = assemble(name, meta, kind, recipe.kind, made, missing, parity, results, engines)
    shutil.rmtree(NOTES / name, ignore_errors=True)
    chosen = next(iter(bundle.manifest.choice[device_class()]))
    say(f"{bundle.directory}: version {bundle.version}, serving {', '.join(chosen.values())} on {device_class()}")
    return bundle


def judge_all(
    kind: Kind,
    model: Model,
    files: dict[str, dict[str, bytes]],
    wanted: Any,
    plans: Sequence[Plan],
    notebook: Notebook,
    options: Options,
    say: Say,
) -> list[DeviceResult]:
    """Assess every plan on this machine, one line each: a result for its CPU, and one for its GPU if plans ran there.

    Raises `SessionError` when not even the reference runs.
    """
    judge = Judge(kind, model, files, wanted, QUICK if options.quick else Effort())
    assessments: list[Assessment] = []
    bar = tqdm(plans, desc="judging", unit="candidate", leave=False, dynamic_ncols=True, disable=None)
    try:
        for plan in bar:
            bar.set_postfix_str(plan.id)
            assessment = notebook.assess(judge, plan)
            word, reason = verdict(assessment, kind.budget)
            with bar.external_write_mode():
                say(f"  {plan.id}: {word}: {reason}")
            if plan == REFERENCE and word == "failed":
                raise SessionError(f"the FP32 reference does not run: {reason}")
            assessments.append(assessment)
    finally:
        bar.close()
        judge.close()
    places: dict[str, list[Assessment]] = {}
    for assessment in assessments:
        places.setdefault(place(assessment.plan), []).append(assessment)
    reference = next(a for a in assessments if a.plan == REFERENCE)
    return [
        DeviceResult(where, environment(), options.quick, (reference, *(a for a in found if a is not reference)))
        for where, found in places.items()
    ]


def _installed(wanted: Sequence[str], say: Say) -> list[str]:
    """The wanted runtimes that are here; ONNX Runtime must be, the reference runs in it."""
    found = []
    for runtime in wanted:
        if runtime == "tensorrt":
            here = library() is not None
        elif runtime == "onnxruntime-cuda":
            if cuda.compute_capability() is None:
                continue  # a machine without a GPU is no news
            here = installed_version(runtime) != "not-installed"
        else:
            here = importlib.util.find_spec(runtime) is not None
        if here:
            found.append(runtime)
        else:
            say(f"{runtime} is not installed, so it is no candidate; pip install -r requirements/export.txt")
    if "onnxruntime" not in found:
        raise SessionError("no backend for the reference: pip install -r requirements/export.txt (onnxruntime)")
    return found


def _plans(variants: Sequence[str], runtimes: Sequence[str]) -> list[Plan]:
    """The reference first, then every variant in every runtime that takes it, OpenVINO in bf16 too for FP32 files."""
    plans = [REFERENCE]
    for variant in variants:
        for runtime in RUNTIMES_OF[variant]:
            if runtime in runtimes and runtime != "tensorrt":
                plans.append(Plan(variant, runtime))  # type: ignore[arg-type]
                if variant in ("fp32", "fp32_rewritten") and runtime == "openvino":
                    plans.append(Plan(variant, runtime, "bf16"))  # type: ignore[arg-type]
    return list(dict.fromkeys(plans))


def _parity(kind: Kind, fp32: dict[str, bytes], runtime: str) -> list[Difference]:
    differences: list[Difference] = []
    for role, graph in kind.graphs.items():
        expected = reference(graph, PARITY_SEED)
        spec = tapped_spec(graph, expected)
        session = open_session(runtime, expose_tap(fp32[role], graph.tap), spec, kind.resources.threads)
        differences += compare(graph, session, expected, PARITY_SEED)
    return differences


def _render_torch(kind: Kind) -> Any:
    """FP32 PyTorch's own media: what every variant is compared with."""
    sessions = {role: graph.torch_session() for role, graph in kind.graphs.items()}
    return kind.render(sessions, QUALITY_ROWS, QUALITY_SEED)


def _variants(
    kind: Kind,
    fp32: dict[str, bytes],
    wanted: Any,
    options: Options,
    runtimes: Sequence[str],
    notebook: Notebook,
    say: Say,
) -> tuple[dict[str, dict[str, Variant]], dict[str, str]]:
    """Every wanted variant of every role, and the reasons of those that cannot be made."""
    made: dict[str, dict[str, Variant]] = {}
    missing: dict[str, str] = {}
    for name in dict.fromkeys(("fp32", *options.variants)):
        if (reason := notebook.recall(f"{name}-missing")) is not None:
            missing[name] = reason
            continue
        try:
            made[name] = {
                role: _variant(name, role, kind, fp32, wanted, options, runtimes, notebook) for role in kind.graphs
            }
        except VariantError as error:
            missing[name] = str(error)
            notebook.note(f"{name}-missing", str(error))
            say(f"  {name}: failed: {error}")
    return made, missing


def _variant(
    name: str,
    role: str,
    kind: Kind,
    fp32: dict[str, bytes],
    wanted: Any,
    options: Options,
    runtimes: Sequence[str],
    notebook: Notebook,
) -> Variant:
    if (how := notebook.recall(f"{role}-{name}")) is not None:
        return Variant(notebook.bytes(f"{role}-{name}.onnx", lambda: b""), how)
    graph = kind.graphs[role]
    rows = graph.example(max(options.calibration, 1), CALIBRATION_SEED)
    variant = make(name, graph, fp32[role], rows, _score(kind, role, fp32, wanted, runtimes))
    _check_finite(name, graph, variant.data)
    notebook.bytes(f"{role}-{name}.onnx", lambda: variant.data)
    notebook.note(f"{role}-{name}", variant.how)
    return variant


def _score(kind: Kind, role: str, fp32: dict[str, bytes], wanted: Any, runtimes: Sequence[str]) -> Score:
    """Margin of a role's file to the budget, the other roles in FP32; in OpenVINO where it is wanted: it is faster."""
    runtime = "openvino" if "openvino" in runtimes else "onnxruntime"

    def score(data: bytes) -> float:
        sessions = {
            other: open_session(runtime, data if other == role else fp32[other], graph.spec, kind.resources.threads)
            for other, graph in kind.graphs.items()
        }
        return margin(kind.quality(wanted, kind.render(sessions, len(wanted), QUALITY_SEED)), kind.budget)

    return score


def _check_finite(name: str, graph: Graph, data: bytes) -> None:
    """Raise `VariantError` when a result is NaN or infinite for realistic inputs: bytes rounded from a tap would hide that."""
    import onnxruntime

    session = onnxruntime.InferenceSession(expose_tap(data, graph.tap), providers=["CPUExecutionProvider"])
    try:
        found = session.run(graph.names, graph.example(8, PARITY_SEED))
    except Exception as error:  # onnxruntime's own classes: an operator without a kernel for the variant's type
        raise VariantError(f"{name}: ONNX Runtime does not run it on a CPU: {first_line(error)}") from None
    for tensor, values in zip(graph.names, found, strict=True):
        if not np.isfinite(values).all():
            raise VariantError(f"{name}: the tensor {tensor} is NaN or infinite somewhere")


def _engines(kind: Kind, files: dict[str, dict[str, bytes]], runtimes: Sequence[str], say: Say) -> Engines:
    """TensorRT engines of every variant TensorRT takes, for every capability that the library can build for."""
    engines: Engines = {}
    if "tensorrt" not in runtimes:
        return engines
    here = cuda.compute_capability()
    capabilities = CAPABILITIES if here is None or here in CAPABILITIES else (*CAPABILITIES, here)
    seconds, built = 0.0, 0
    for variant in (v for v in files if "tensorrt" in RUNTIMES_OF[v]):
        for capability in capabilities:
            try:
                roles = {
                    role: build_engine(files[variant][role], graph.spec, capability, graph.free)
                    for role, graph in kind.graphs.items()
                }
            except VariantError as error:
                engines[variant, capability] = str(error)
                say(f"  {variant}-tensorrt {capability}: failed: {error}")
                continue
            engines[variant, capability] = roles
            seconds += sum(engine.build_s for engine in roles.values())
            built += len(roles)
    say(f"  {built} TensorRT engines built ahead of time in {seconds:.1f} s ({', '.join(capabilities)})")
    return engines


def _notes(name: str, meta: checkpoint.Meta, options: Options, runtimes: Sequence[str]) -> Path:
    """The folder of this build's notes: another checkpoint, library or option begins a new one."""
    versions = {p: installed_version(p) for p in ("torch", "onnxruntime", "openvino", "onnx")}
    inputs = [meta.files, options.quick, options.calibration, "openvino" in runtimes, versions, QUALITY_SEED, ROWS]
    key = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
    folder = NOTES / name
    if folder.exists():
        for old in folder.iterdir():
            if old.name != key:
                shutil.rmtree(old)
    return folder / key
