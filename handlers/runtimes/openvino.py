"""OpenVINO on the CPU."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.runtime import Arrays, Runtime, SessionError


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
        if (cache := compiled_cache()) is not None:
            settings["CACHE_DIR"] = str(cache)
        self._compiled = core.compile_model(core.read_model(model=model), "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self._names = [output.name for output in spec.outputs]

    def run(self, inputs: Arrays) -> Arrays:
        """All outputs by name, copied: the request is used again."""
        results = self._request.infer(inputs, share_inputs=False, share_outputs=False)
        return {name: np.asarray(results[name]) for name in self._names}

    def close(self) -> None:
        """Let request and compiled graph go; the Core stays."""
        del self._request, self._compiled


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
