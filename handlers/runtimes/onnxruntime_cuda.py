"""ONNX Runtime on the first GPU."""

from __future__ import annotations

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.onnxruntime import Graph
from handlers.runtimes.runtime import Runtime


def _open(model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> Graph:
    return Graph(model, spec, threads, "CUDAExecutionProvider")


RUNTIME = Runtime(
    name="onnxruntime-cuda",
    title="ONNX Runtime on CUDA",
    modules=("onnxruntime",),
    packages=("onnxruntime-gpu",),
    device="gpu",
    variants=("fp32", "fp16"),
    opener=_open,
    requirements="requirements/gpu.txt",
)
