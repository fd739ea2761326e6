"""A runtime is a file and a row: whatever asks about runtimes asks the registry."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from handlers.bundle import AHEAD_OF_TIME
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.manifest import Precision
from handlers.runtimes import cuda, registry
from handlers.runtimes.device import Machine
from handlers.runtimes.fingerprint import engine_fingerprint
from handlers.runtimes.runtime import NOT_INSTALLED, Arrays, Runtime, SessionError
from handlers.runtimes.session import open_session
from tests.conftest import ROOT

SPEC = GraphSpec((TensorSpec("x", "float32", ("batch",)),), (TensorSpec("y", "float32", ("batch",)),))


class Doubling:
    """A graph of numpy's: its file is the factor."""

    def __init__(self, model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> None:
        self._factor = np.float32(float(model))

    def run(self, inputs: Arrays) -> Arrays:
        return {"y": inputs["x"] * self._factor}

    def close(self) -> None:
        pass


NUMPY = Runtime("numpy-float", ("numpy",), ("numpy",), "cpu", ("fp32",), Doubling)


@pytest.fixture
def one_more(monkeypatch: pytest.MonkeyPatch) -> Runtime:
    """A row more in the registry: all that a new runtime needs beside its file."""
    monkeypatch.setattr(registry, "RUNTIMES", [*registry.RUNTIMES, NUMPY])
    return NUMPY


def test_a_row_is_all_that_a_runtime_needs(one_more: Runtime) -> None:
    with open_session("numpy-float", b"2.5", SPEC, 1) as opened:
        np.testing.assert_array_equal(opened.run({"x": np.ones(3, np.float32)})["y"], [2.5] * 3)
    assert one_more in registry.takers("fp32")
    assert one_more not in registry.takers("fp16")
    assert f"numpy-float-{np.__version__} numpy-" in engine_fingerprint(Machine("avx2"), ["numpy-float"], 1)


def test_what_it_cannot_load_is_told_with_its_name(one_more: Runtime) -> None:
    with pytest.raises(SessionError, match="numpy-float does not load the graph: could not convert"):
        open_session("numpy-float", b"no number", SPEC, 1)


@pytest.mark.parametrize("runtime", registry.RUNTIMES, ids=lambda runtime: runtime.name)
def test_every_runtime_is_a_file_of_its_name(runtime: Runtime) -> None:
    module = f"handlers.runtimes.{runtime.name.replace('-', '_')}"
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{runtime.name} has no file"
    assert (ROOT / runtime.requirements).is_file()
    assert runtime.precisions[0] == "f32"
    assert runtime.variants
    assert runtime.installed == (runtime.version() != NOT_INSTALLED and runtime.module() is not None)


def test_a_bundle_knows_whose_files_are_no_graphs() -> None:
    """What reads bundles imports no runtime."""
    assert {runtime.name for runtime in registry.RUNTIMES if runtime.ahead_of_time} == set(AHEAD_OF_TIME)


def test_the_reference_computes_fp32_on_every_machine() -> None:
    assert registry.REFERENCE.device == "cpu"
    assert "fp32" in registry.REFERENCE.variants
    assert not registry.REFERENCE.ahead_of_time


def test_a_precision_it_does_not_offer_is_refused() -> None:
    with pytest.raises(SessionError, match="onnxruntime computes in f32; bf16 is not among them"):
        open_session("onnxruntime", b"", SPEC, 1, "bf16")


def test_bf16_where_the_cpu_has_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install -r requirements/serve.txt")
    from handlers.runtimes import openvino

    class Old:
        def get_property(self, device: str, name: str) -> list[str]:
            return ["FP32", "INT8"]

    monkeypatch.setattr(openvino, "_core", Old)
    with pytest.raises(SessionError, match="this CPU has no bf16; f32 is what it computes in"):
        open_session("openvino", b"", SPEC, 1, "bf16")


@pytest.mark.skipif(cuda.compute_capability() is not None, reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("onnxruntime-cuda", "this onnxruntime has no CUDAExecutionProvider; install requirements/gpu.txt"),
        ("tensorrt", "a TensorRT engine needs a CUDA device, and this machine has none"),
    ],
)
def test_runtimes_of_gpus_say_what_is_missing(name: str, message: str) -> None:
    if registry.find(name).module() is None:
        pytest.skip(f"{name} is not installed: pip install -r requirements/export.txt")
    with pytest.raises(SessionError, match=message):
        open_session(name, b"", SPEC, 1)
