"""Candidates before they are judged: which variants are tried in which runtimes on this machine."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Sequence
from typing import Literal

from export.options import Options, Say
from export.to_tensorrt import library
from export.variants import RUNTIMES_OF
from handlers.bundle import Precision, Runtime
from handlers.runtimes import cuda
from handlers.runtimes.device import device_class, installed_version
from handlers.runtimes.session import SessionError


@dataclasses.dataclass(frozen=True)
class Plan:
    """A candidate before it is judged: every role of a generator in one form and one runtime."""

    variant: str
    runtime: Runtime
    precision: Precision = "f32"

    @property
    def id(self) -> str:
        """Its name in the certificate."""
        return f"{self.variant}-{self.runtime}" + ("" if self.precision == "f32" else f"-{self.precision}")


REFERENCE = Plan("fp32", "onnxruntime")
GPU_RUNTIMES = ("onnxruntime-cuda", "tensorrt")


def file_key(plan: Plan) -> str:
    """Under which name a plan's files are kept: an engine is another file than the graph it was built from."""
    return f"{plan.variant}-tensorrt" if plan.runtime == "tensorrt" else plan.variant


def place(plan: Plan) -> str:
    """The device class that a plan is judged on here: the GPU's for GPU runtimes, else the CPU's."""
    return (cuda.compute_capability() or "no-gpu") if plan.runtime in GPU_RUNTIMES else device_class()


def installed(options: Options, say: Say) -> list[Runtime]:
    """The wanted runtimes that are installed here. Raises `SessionError` without ONNX Runtime, the reference's."""
    found: list[Runtime] = []
    for runtime in options.runtimes:
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


def scoring_runtime(runtimes: Sequence[Runtime]) -> Literal["openvino", "onnxruntime"]:
    """The runtime that calibration is chosen in: OpenVINO where it is wanted and installed, since it is faster."""
    return "openvino" if "openvino" in runtimes else "onnxruntime"


def plans(variants: Sequence[str], runtimes: Sequence[Runtime]) -> list[Plan]:
    """The reference first, then every variant in every runtime that takes it, OpenVINO in bf16 too for FP32 files."""
    found = [REFERENCE]
    for variant in variants:
        for runtime in RUNTIMES_OF[variant]:
            if runtime in runtimes and runtime != "tensorrt":
                found.append(Plan(variant, runtime))  # type: ignore[arg-type]
                if variant in ("fp32", "fp32_rewritten") and runtime == "openvino":
                    found.append(Plan(variant, runtime, "bf16"))  # type: ignore[arg-type]
    return list(dict.fromkeys(found))
