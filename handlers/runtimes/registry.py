"""The runtimes that there are, a row each. The first is the reference's."""

from __future__ import annotations

from handlers.runtimes import compiled, onnxruntime, onnxruntime_cuda, openvino, tensorrt
from handlers.runtimes.runtime import Runtime, SessionError

RUNTIMES: list[Runtime] = [
    onnxruntime.RUNTIME,
    openvino.RUNTIME,
    compiled.RUNTIME,
    onnxruntime_cuda.RUNTIME,
    tensorrt.RUNTIME,
]
REFERENCE = RUNTIMES[0]  # every machine has it, and every variant is compared with FP32 in it


def names() -> tuple[str, ...]:
    """The names that a manifest may hold."""
    return tuple(runtime.name for runtime in RUNTIMES)


def find(name: str) -> Runtime:
    """The runtime called `name`. Raises `SessionError` that lists the known ones."""
    found = next((runtime for runtime in RUNTIMES if runtime.name == name), None)
    if found is None:
        raise SessionError(f"unknown runtime {name!r}; known: {', '.join(names())}")
    return found


def takers(variant: str) -> list[Runtime]:
    """The runtimes that take a form of a graph, in order."""
    return [runtime for runtime in RUNTIMES if variant in runtime.variants]
