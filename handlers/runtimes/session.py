"""Graphs into arrays: one shape of call for every runtime. Names, dtypes and shapes are checked before a backend sees them."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.bundle import Precision, Runtime
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.runtimes.device import thread_count

Arrays = dict[str, NDArray[Any]]
RUNTIMES: tuple[Runtime, ...] = ("onnxruntime", "openvino")  # those of every CPU


class SessionError(ValueError):
    """An array that does not fit the graph, or a runtime that is not there."""


class Session:
    """An open graph. `run` takes and gives arrays by name; the batch dimension is free."""

    def __init__(self, spec: GraphSpec, infer: Callable[[Arrays], Arrays], runtime: str) -> None:
        self.spec, self.runtime, self._infer = spec, runtime, infer
        self._spent = threading.local()

    @property
    def seconds(self) -> float:
        """Spent computing so far by the thread that asks."""
        return float(getattr(self._spent, "seconds", 0.0))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Compute all outputs. Raises `SessionError` for missing, unknown or ill-fitting arrays, in or out."""
        sizes: dict[str, int] = {}
        check("input", inputs, self.spec.inputs, sizes)
        began = time.perf_counter()
        outputs = self._infer(dict(inputs))
        self._spent.seconds = self.seconds + time.perf_counter() - began
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


def open_session(runtime: str, model: bytes, spec: GraphSpec, threads: int, precision: Precision = "f32") -> Session:
    """Open a graph file (its bytes) in a runtime with that many CPU threads (0: all cores). Raises `SessionError`.

    `precision` is what the runtime may compute unquantized parts in; only OpenVINO offers a choice.
    """
    openers: dict[str, Callable[..., Callable[[Arrays], Arrays]]] = {
        "onnxruntime": _open_onnxruntime,
        "onnxruntime-cuda": functools.partial(_open_onnxruntime, provider="CUDAExecutionProvider"),
        "openvino": functools.partial(_open_openvino, precision=precision),
        "tensorrt": _open_tensorrt,
    }
    if runtime not in openers:
        raise SessionError(f"unknown runtime {runtime!r}; known: {', '.join(openers)}")
    if precision != "f32" and runtime != "openvino":
        raise SessionError(f"{runtime} has no precision hint; {precision} is for openvino alone")
    try:
        return Session(spec, openers[runtime](model, spec, thread_count(threads)), runtime)
    except ImportError as error:
        raise SessionError(
            f"runtime {runtime} is not installed ({error}); pip install -r requirements/serve.txt"
        ) from None
    except SessionError:
        raise
    except Exception as error:  # every runtime has its own exceptions: unsupported operator, damaged file, no device
        raise SessionError(f"{runtime} does not load the graph: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line that says something of a runtime's error, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def tensorrt_module() -> ModuleType | None:
    """TensorRT where it is installed, else TensorRT-RTX, else None."""
    for name in ("tensorrt", "tensorrt_rtx"):
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    return None


def _open_onnxruntime(
    model: bytes, spec: GraphSpec, threads: int, provider: str = "CPUExecutionProvider"
) -> Callable[[Arrays], Arrays]:
    import onnxruntime

    if provider not in onnxruntime.get_available_providers():
        raise SessionError(f"this onnxruntime has no {provider}; install requirements/gpu.txt in place of serve.txt")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model, options, providers=[provider])
    names = [output.name for output in spec.outputs]
    return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))


@functools.cache
def _openvino_core() -> Any:
    """The one OpenVINO Core of this process, which never ends before it does.

    A Core's CPU plugin gives the thread that loads it an alternate signal stack, and when it ends the one from before. Of two
    Cores that end in the order in which they began, the second gives back the first one's, which is unmapped by then: the next
    signal with a handler of Python's (Ctrl-C, an alarm) is a segmentation fault.
    """
    import openvino

    return openvino.Core()


def _open_openvino(model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> Callable[[Arrays], Arrays]:
    core = _openvino_core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise SessionError("this CPU has no bf16; f32 is what it computes in")
    settings: dict[str, object] = {
        "INFERENCE_PRECISION_HINT": precision,  # explicit: the default is bf16 where the CPU has it
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
    }
    if (cache := compiled_cache()) is not None:
        settings["CACHE_DIR"] = str(cache)
    compiled = core.compile_model(core.read_model(model=model), "CPU", settings)
    request = compiled.create_infer_request()
    names = [output.name for output in spec.outputs]

    def infer(inputs: Arrays) -> Arrays:
        results = request.infer(inputs, share_inputs=False, share_outputs=False)  # copies: the request is reused
        return {name: np.asarray(results[name]) for name in names}

    return infer


def compiled_cache() -> Path | None:
    """The user's private folder of compiled models, or None where there is no home that can be written to."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "atelier" / "openvino"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # read-only, or no home at all: compile at every start
        return None
    private = folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o022
    return folder if private and os.access(folder, os.W_OK) else None


def _open_tensorrt(model: bytes, spec: GraphSpec, threads: int) -> Callable[[Arrays], Arrays]:
    from handlers.runtimes import cuda

    trt = tensorrt_module()
    if trt is None:
        raise ImportError("neither tensorrt nor tensorrt_rtx")
    if cuda.compute_capability() is None:
        raise SessionError("a TensorRT engine needs a CUDA device, and this machine has none")
    cuda.use_primary_context()
    runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
    engine = runtime.deserialize_cuda_engine(model)
    if engine is None:
        raise SessionError(f"{trt.__name__} {trt.__version__} refuses the engine: it is damaged or for another GPU")
    context = engine.create_execution_context()
    buffers = {tensor.name: cuda.Buffer() for tensor in (*spec.inputs, *spec.outputs)}

    def infer(inputs: Arrays) -> Arrays:
        cuda.use_primary_context()  # TorchServe may call from another thread
        for name, array in inputs.items():
            context.set_input_shape(name, array.shape)
            buffers[name].upload(np.ascontiguousarray(array))
        outputs = {t.name: np.empty(tuple(context.get_tensor_shape(t.name)), t.dtype) for t in spec.outputs}
        for name, array in outputs.items():
            buffers[name].reserve(array.nbytes)
        for name, buffer in buffers.items():
            context.set_tensor_address(name, buffer.address)
        if not context.execute_async_v3(0):
            raise SessionError("TensorRT refused to run the engine; its log has the reason")
        cuda.synchronize()
        for name, array in outputs.items():
            buffers[name].download(array)
        return outputs

    return infer
