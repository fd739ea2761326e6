"""OpenVINO on the CPU."""

from __future__ import annotations

import functools
import hashlib
import io
import logging
import os
from typing import Any

import numpy as np

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.compiled_cache import open_cache
from handlers.runtimes.runtime import Arrays, Runtime, SessionError, first_line, package_version

log = logging.getLogger(__name__)


@functools.cache
def _core() -> Any:
    """The one OpenVINO Core of this process, which never ends before it does.

    A Core's CPU plugin gives the thread that loads it an alternate signal stack, and when it ends the one from before.
    Of two Cores that end in the order in which they began, the second gives back the first one's, which is unmapped by
    then: the next signal with a handler of Python's (Ctrl-C, an alarm) is a segmentation fault.
    """
    import openvino

    return openvino.Core()


class Graph:
    """A compiled graph and the one request that computes it."""

    def __init__(self, model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> None:
        core = _core()
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise SessionError("this CPU has no bf16; f32 is what it computes in")
        settings: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": precision,  # explicit: the default is bf16 where the CPU has it
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
        }
        self._compiled = _compiled(core, model, settings)
        self._request = self._compiled.create_infer_request()
        self._names = [output.name for output in spec.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs by name, copied: the request is used again."""
        results = self._request.infer(inputs, share_inputs=False, share_outputs=False)
        return {name: np.asarray(results[name]) for name in self._names}

    def close(self) -> None:
        """Let request and compiled graph go; the Core stays."""
        del self._request, self._compiled


def _compiled(core: Any, model: bytes, settings: dict[str, object]) -> Any:
    """The graph compiled with these settings, as it was kept from an earlier start where that can be.

    The runtime has a cache of its own, which takes a file that was changed or cut for a whole one.
    """
    cache = open_cache("openvino")
    if cache is None:
        return core.compile_model(core.read_model(model=model), "CPU", settings)
    key = _key(core, model, settings)
    if (kept := cache.get(key)) is not None:
        try:
            return core.import_model(io.BytesIO(kept), "CPU", settings)
        except Exception as error:  # the library's errors have no class of their own
            log.warning("OpenVINO does not take its own compiled graph: %s; it is compiled again", first_line(error))
            cache.remove(key)
    compiled = core.compile_model(core.read_model(model=model), "CPU", settings)
    try:
        cache.put(key, compiled.export_model().getvalue())
    except Exception as error:  # a graph that cannot be written is served all the same
        log.warning("OpenVINO does not write its compiled graph: %s; the next start compiles again", first_line(error))
    return compiled


def _key(core: Any, model: bytes, settings: dict[str, object]) -> str:
    """Differs wherever a compiled graph may: by file, settings, version of the runtime and processor."""
    here = [core.get_property("CPU", name) for name in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")]
    parts = [*settings.items(), package_version("openvino"), *here, os.environ.get("ONEDNN_MAX_CPU_ISA")]
    return hashlib.sha256(hashlib.sha256(model).digest() + repr(parts).encode()).hexdigest()[:32]


RUNTIME = Runtime(
    name="openvino",
    title="OpenVINO",
    modules=("openvino",),
    packages=("openvino",),
    device="cpu",
    # Row-wise forms are rounded another way here, so they are not among them.
    variants=("fp32", "fp32_rewritten", "int8_static", "int8_rewritten", "int8_7bit"),
    opener=Graph,
    precisions=("f32", "bf16"),
    calibrates=True,
)
