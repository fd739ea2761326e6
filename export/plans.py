"""Candidates before they are judged: which variants are tried in which runtimes on this machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from export.options import Options, Say
from export.variants import FP32_FORMS
from handlers.manifest import Precision
from handlers.runtimes import registry
from handlers.runtimes.device import Machine
from handlers.runtimes.registry import find, takers
from handlers.runtimes.runtime import Runtime, SessionError


@dataclasses.dataclass(frozen=True)
class Plan:
    """A candidate before it is judged: every role of a generator in one form and one runtime."""

    variant: str
    runtime: str  # its name
    precision: Precision = "f32"

    @property
    def id(self) -> str:
        """Its name in the certificate."""
        return f"{self.variant}-{self.runtime}" + ("" if self.precision == "f32" else f"-{self.precision}")


REFERENCE = Plan("fp32", registry.REFERENCE.name)


def file_key(plan: Plan) -> str:
    """The name a plan's files are kept under: an engine is another file than the graph it was built from."""
    return f"{plan.variant}-{plan.runtime}" if find(plan.runtime).ahead_of_time else plan.variant


def place(plan: Plan, here: Machine) -> str:
    """The device class that a plan is judged on: the GPU's for runtimes of GPUs, else the CPU's."""
    return here.device_class(find(plan.runtime).device)


def installed(options: Options, here: Machine, kind: str, say: Say) -> tuple[str, ...]:
    """The wanted runtimes that are installed and take the graphs of a kind. Raises `SessionError` without the
    reference's.
    """
    found: list[str] = []
    for runtime in map(find, options.runtimes):
        if runtime.kinds is not None and kind not in runtime.kinds:
            if not options.every_runtime:  # nor is it news that one for other kinds is no candidate
                say(f"{runtime.name} is for {', '.join(runtime.kinds)}, so of {kind} it is no candidate")
        elif runtime.device == "gpu" and here.gpu is None and not runtime.ahead_of_time:
            if not options.every_runtime:  # a machine without a GPU is no news where nobody asked for one by name
                say(f"{runtime.name} needs a CUDA device, and this machine has none, so it is no candidate")
        elif runtime.installed:
            found.append(runtime.name)
        else:
            say(f"{runtime.name} is not installed, so it is no candidate; pip install -r requirements/export.txt")
    if REFERENCE.runtime not in found:
        wanted = f"pip install -r requirements/export.txt ({REFERENCE.runtime})"
        raise SessionError(f"no backend for the reference: {wanted}")
    return tuple(found)


def scoring_runtime(runtimes: Sequence[str]) -> str:
    """The runtime that calibrations are tried in: a fast one for that where it is wanted and installed."""
    fast = [name for name in runtimes if find(name).calibrates]
    return fast[0] if fast else REFERENCE.runtime


def parity_runtimes(runtimes: Sequence[str]) -> list[str]:
    """The runtimes in which FP32 is compared with PyTorch here: those of the CPU that open its file as it is."""
    able = [runtime.name for runtime in takers("fp32") if runtime.device == "cpu" and not runtime.ahead_of_time]
    return [name for name in runtimes if name in able]


def plans(variants: Sequence[str], runtimes: Sequence[str]) -> list[Plan]:
    """The reference first, then every variant in every runtime that takes it as it is.

    Unquantized forms are tried in every precision that a runtime offers.
    """
    found = [REFERENCE]
    for variant in variants:
        for runtime in takers(variant):
            if runtime.name in runtimes and not runtime.ahead_of_time:
                found += [Plan(variant, runtime.name, precision) for precision in _precisions(variant, runtime)]
    return list(dict.fromkeys(found))


def _precisions(variant: str, runtime: Runtime) -> tuple[Precision, ...]:
    return runtime.precisions if variant in FP32_FORMS else runtime.precisions[:1]
