"""ONNX Runtime on the CPU: the runtime of the reference."""

from __future__ import annotations

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.runtime import Arrays, Runtime, SessionError


class Graph:
    """A graph in ONNX Runtime, on one execution provider."""

    def __init__(self, model: bytes, spec: GraphSpec, threads: int, provider: str = "CPUExecutionProvider") -> None:
        import onnxruntime

        if provider not in onnxruntime.get_available_providers():
            raise SessionError(
                f"this onnxruntime has no {provider}; install requirements/gpu.txt in place of serve.txt"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=[provider])
        self._names = [output.name for output in spec.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs by name."""
        return dict(zip(self._names, self._session.run(self._names, inputs), strict=True))

    def close(self) -> None:
        """End the session with its threads."""
        del self._session


def _open(model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> Graph:
    return Graph(model, spec, threads)


RUNTIME = Runtime(
    name="onnxruntime",
    title="ONNX Runtime",
    modules=("onnxruntime",),
    packages=("onnxruntime", "onnxruntime-gpu"),
    device="cpu",
    variants=("fp32", "fp32_rewritten", "int8_static", "int8_rewritten", "int8_7bit", "int8_rowwise", "int8_dynamic"),
    opener=_open,
)
