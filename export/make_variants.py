"""Every form of every graph of a model, and the reasons of the forms that cannot be made."""

from __future__ import annotations

import contextlib
import time

import numpy as np

from export.budget import OUT_OF_TIME
from export.context import Build
from export.graphs import Graph
from export.judge import QUALITY_SEED
from export.parity import PARITY_SEED
from export.plans import scoring_runtime
from export.quality import margin
from export.quantize import Score, VariantError
from export.to_onnx import expose_tap
from export.variants import CALIBRATION_SEED, Variant, make, search_seconds, tried_on
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.runtimes import registry
from handlers.runtimes.device import thread_count
from handlers.runtimes.runtime import first_line
from handlers.runtimes.session import open_session

LINE_SECONDS = 1.0  # a form that took as long gets a line: nothing else is said meanwhile
Variants = dict[str, dict[str, Variant]]  # variant -> role -> file


class OutOfTime(Exception):
    """A form that was not made for want of time."""


def make_variants(build: Build) -> tuple[Variants, dict[str, str]]:
    """Every wanted variant of every role, and by name the reasons of those that cannot be made."""
    made: Variants = {}
    missing: dict[str, str] = {}
    for name in tried_on(build.here.cpu, build.options.variants):
        if (reason := build.notebook.recall(f"{name}-missing")) is not None:
            missing[name] = reason
            continue
        began = time.monotonic()
        try:
            made[name] = {role: _variant(build, name, role) for role in build.kind.graphs}
        except OutOfTime as error:  # not noted: another build goes on here
            missing[name] = str(error)
            build.say(f"  {name}: not made: {error}")
            continue
        except VariantError as error:
            missing[name] = str(error)
            build.notebook.note(f"{name}-missing", str(error))
            build.say(f"  {name}: failed: {error}")
            continue
        if (took := time.monotonic() - began) >= LINE_SECONDS:
            build.say(f"  {name}: made in {took:.0f} s")
    return made, missing


def _variant(build: Build, name: str, role: str) -> Variant:
    file = f"{role}-{name}.onnx"
    how, data = build.notebook.recall(f"{role}-{name}"), build.notebook.recall_file(file)
    if how is not None and data is not None:
        return Variant(data, how)
    if name != "fp32" and not build.budget.may_make:
        raise OutOfTime(OUT_OF_TIME.format("made"))
    graph = build.kind.graphs[role]
    rows = graph.example(max(build.options.calibration, 1), CALIBRATION_SEED)
    seconds = search_seconds(name, build.here.cpu, build.options.effort.search_seconds)
    others = [data for other, data in build.fp32.items() if other != role]
    variant = make(name, graph, build.fp32[role], rows, _score(build, role), seconds, others)
    check_finite(name, graph, variant.data)
    build.notebook.note_file(file, variant.data)
    build.notebook.note(f"{role}-{name}", variant.how)
    return variant


def _score(build: Build, role: str) -> Score:
    """Margin of a role's file to the budget, the other roles in FP32."""
    kind, runtime = build.kind, scoring_runtime(build.runtimes)

    def score(data: bytes) -> float:
        with contextlib.ExitStack() as opened:
            sessions = {
                other: opened.enter_context(
                    open_session(
                        runtime, data if other == role else build.fp32[other], graph.spec, kind.resources.threads
                    )
                )
                for other, graph in kind.graphs.items()
            }
            found = kind.render(sessions, len(build.wanted), QUALITY_SEED)
        return margin(kind.quality(build.wanted, found), kind.budget)

    return score


def check_finite(name: str, graph: Graph, data: bytes) -> None:
    """Raise `VariantError` when a result is NaN or infinite for realistic inputs.

    Bytes that were rounded from a tap would hide that, so the tap is looked at.
    """
    # Only names are asked for: of half precision, a tap has another type than of FP32.
    spec = GraphSpec(graph.spec.inputs, tuple(TensorSpec(name, "float32", ()) for name in graph.names))
    try:
        opened = registry.REFERENCE.opener(expose_tap(data, graph.tap), spec, thread_count(0), "f32")
        found = opened.run(graph.example(8, PARITY_SEED))
        opened.close()
    except Exception as error:  # the runtime's own classes: an operator without a kernel for the variant's type
        raise VariantError(f"{name}: ONNX Runtime does not run it on a CPU: {first_line(error)}") from None
    for tensor, values in found.items():
        if not np.isfinite(values).all():
            raise VariantError(f"{name}: the tensor {tensor} is NaN or infinite somewhere")
