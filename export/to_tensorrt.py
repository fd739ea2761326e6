"""ONNX -> TensorRT engines, ahead of time: no GPU is needed to build for one.

`tensorrt` is used where it is installed, else `tensorrt_rtx`. Networks are strongly typed: precision comes from the
graph (FP16 casts, Q/DQ nodes). An engine belongs to one compute capability and one library version; it is cached by
both and by the graph's digest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from export.quantize import VariantError
from handlers.files import write_file
from handlers.graph_spec import GraphSpec
from handlers.runtimes import tensorrt

CAPABILITIES = ("sm80", "sm86", "sm89", "sm120")
CACHE = Path("artifacts/engines")
PROFILE = (1, 8, 32)  # batch sizes: smallest, the one to optimise for, largest

Free = Mapping[str, tuple[int, int]]  # as in export/graphs: the step and the most of a free dimension


@dataclasses.dataclass(frozen=True)
class EngineFile:
    """A built engine, the compute capability it runs on, and the library (module, version) that it requires."""

    data: bytes
    capability: str
    requires: dict[str, str]
    build_s: float  # 0 when it came from the cache


def build_engine(model: bytes, spec: GraphSpec, capability: str, free: Free = MappingProxyType({})) -> EngineFile:
    """Build (or take from the cache) the engine of an ONNX file for one compute capability. Raises `VariantError`."""
    trt = tensorrt.library()
    if trt is None:
        raise VariantError("TensorRT is not installed; pip install -r requirements/export.txt")
    requires = tensorrt.RUNTIME.requires()
    digest = hashlib.sha256(model).hexdigest()[:16]
    cached = CACHE / f"{digest}-{trt.__name__}-{trt.__version__}-{capability}.engine"
    if cached.exists():
        return EngineFile(cached.read_bytes(), capability, requires, 0.0)
    began = time.perf_counter()
    data = _build(trt, model, spec, capability, free)
    write_file(cached, data)
    return EngineFile(data, capability, requires, time.perf_counter() - began)


def _build(trt: Any, model: bytes, spec: GraphSpec, capability: str, free: Free) -> bytes:
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(model):
        problems = [parser.get_error(i) for i in range(parser.num_errors)]
        raise VariantError(
            "TensorRT does not take the graph: "
            + "; ".join(
                f"operator {p.node_operator() or '?'} of node {p.node_name() or '?'}: {p.desc()}" for p in problems[:3]
            )
            + " (leave it to another runtime, or rewrite the operator)"
        )
    settings = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for tensor in spec.inputs:
        shapes = [_profiled(tensor.shape, free, at) for at in range(len(PROFILE))]
        profile.set_shape(tensor.name, *shapes)
    settings.add_optimization_profile(profile)
    if hasattr(trt, "ComputeCapability"):  # TensorRT-RTX builds for any capability
        target = getattr(trt.ComputeCapability, capability.upper(), None)
        if target is None:
            raise VariantError(f"{trt.__name__} {trt.__version__} has no target {capability}")
        settings.num_compute_capabilities = 1
        settings.set_compute_capability(target, 0)
    engine = builder.build_serialized_network(network, settings)
    if engine is None:
        raise VariantError(f"{trt.__name__} {trt.__version__} built no engine for {capability}; its log has the reason")
    return bytes(engine)


def _profiled(shape: tuple[int | str, ...], free: Free, at: int) -> tuple[int, ...]:
    """A shape with its free dimensions at their least, usual or largest (`at` 0, 1, 2).

    All free dimensions but the batch are in `free`.
    """
    sizes = {name: (step, step, most) for name, (step, most) in free.items()}
    return tuple(size if isinstance(size, int) else sizes.get(size, PROFILE)[at] for size in shape)
