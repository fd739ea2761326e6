"""TensorRT, or TensorRT-RTX where that is installed: engines that were built ahead of time, on the first GPU."""

from __future__ import annotations

import importlib
from types import ModuleType

import numpy as np

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes import cuda
from handlers.runtimes.runtime import Arrays, Runtime, SessionError


def library() -> ModuleType | None:
    """TensorRT where it is installed, else TensorRT-RTX, else None."""
    name = RUNTIME.module()
    return None if name is None else importlib.import_module(name)


class Graph:
    """A deserialized engine with device memory for its inputs and outputs."""

    def __init__(self, model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> None:
        trt = library()
        if trt is None:
            raise ImportError("neither tensorrt nor tensorrt_rtx")
        if cuda.compute_capability() is None:
            raise SessionError("a TensorRT engine needs a CUDA device, and this machine has none")
        cuda.use_primary_context()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(model)
        if self._engine is None:
            raise SessionError(f"{trt.__name__} {trt.__version__} refuses the engine: it is damaged or for another GPU")
        self._context = self._engine.create_execution_context()
        self._outputs = spec.outputs
        self._buffers = {tensor.name: cuda.Buffer() for tensor in (*spec.inputs, *spec.outputs)}

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs by name, copied from the device."""
        cuda.use_primary_context()  # a source is encoded in another thread than the steps
        context, buffers = self._context, self._buffers
        for name, array in inputs.items():
            context.set_input_shape(name, array.shape)
            buffers[name].upload(np.ascontiguousarray(array))
        outputs = {t.name: np.empty(tuple(context.get_tensor_shape(t.name)), t.dtype) for t in self._outputs}
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

    def close(self) -> None:
        """Free the device memory."""
        cuda.use_primary_context()
        for buffer in self._buffers.values():
            buffer.free()
        del self._context, self._engine, self._runtime


RUNTIME = Runtime(
    name="tensorrt",
    title="TensorRT",
    modules=("tensorrt", "tensorrt_rtx"),
    packages=("tensorrt", "tensorrt_rtx"),
    device="gpu",
    # It takes neither row-wise nor dynamically quantized graphs.
    variants=("fp16", "int8_static"),
    opener=Graph,
    ahead_of_time=True,
    requirements="requirements/gpu.txt",
)
