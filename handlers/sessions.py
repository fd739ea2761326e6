"""Graphs into arrays: one shape of call for every runtime. Names, dtypes and shapes are checked before a backend sees them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.bundle import GraphSpec, Runtime, TensorSpec

Arrays = dict[str, NDArray[Any]]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")


class SessionError(ValueError):
    """An array that does not fit the graph, or a runtime that is not there."""


class Session:
    """An open graph. `run` takes and gives arrays by name; the batch dimension is free."""

    def __init__(self, spec: GraphSpec, infer: Callable[[Arrays], Arrays], runtime: str) -> None:
        self.spec, self.runtime, self._infer = spec, runtime, infer

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Compute all outputs. Raises `SessionError` for missing, unknown or ill-fitting arrays, in or out."""
        sizes: dict[str, int] = {}
        check("input", inputs, self.spec.inputs, sizes)
        outputs = self._infer(dict(inputs))
        check("output", outputs, self.spec.outputs, sizes)
        return outputs


def check(what: str, arrays: Mapping[str, NDArray[Any]], specs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> None:
    """Raise `SessionError` unless `arrays` are what `specs` say; `sizes` collects the free dimensions by name."""
    if set(arrays) != {spec.name for spec in specs}:
        wanted = ", ".join(spec.name for spec in specs)
        raise SessionError(f"{what}s are named {', '.join(sorted(arrays)) or '(none)'}, the graph wants {wanted}")
    for spec in specs:
        array = arrays[spec.name]
        shape_fits = len(array.shape) == len(spec.shape) and all(
            size == wanted if isinstance(wanted, int) else sizes.setdefault(wanted, size) == size and size > 0
            for size, wanted in zip(array.shape, spec.shape, strict=True)
        )
        if array.dtype != spec.dtype or not shape_fits:
            raise SessionError(
                f"{what} {spec.name} is {array.dtype} {list(array.shape)}, wanted {spec.dtype} {list(spec.shape)}"
            )


def open_session(runtime: str, model: bytes, spec: GraphSpec, threads: int) -> Session:
    """Open an ONNX file (its bytes) in a runtime with that many threads (0: all cores). Raises `SessionError`."""
    openers = {"onnxruntime": _open_onnxruntime, "openvino": _open_openvino}
    if runtime not in openers:
        raise SessionError(f"unknown runtime {runtime!r}; known: {', '.join(RUNTIMES)}")
    try:
        return Session(spec, openers[runtime](model, spec, threads or os.cpu_count() or 1), runtime)
    except ImportError as error:
        raise SessionError(
            f"runtime {runtime} is not installed ({error}); pip install -r requirements/serve.txt"
        ) from None


def _open_onnxruntime(model: bytes, spec: GraphSpec, threads: int) -> Callable[[Arrays], Arrays]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in spec.outputs]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


def _open_openvino(model: bytes, spec: GraphSpec, threads: int) -> Callable[[Arrays], Arrays]:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(model=model),
        "CPU",
        {
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bf16 where the CPU has it
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        },
    )
    request = compiled.create_infer_request()
    names = [output.name for output in spec.outputs]

    def infer(inputs: Arrays) -> Arrays:
        results = request.infer(inputs, share_inputs=False, share_outputs=False)  # copies: the request is reused
        return {name: np.asarray(results[name]) for name in names}

    return infer
