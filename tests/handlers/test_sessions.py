"""Arrays are checked before a runtime sees them, and all runtimes compute the same graph."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.runtimes.runtime import Arrays, SessionError
from handlers.runtimes.session import Session, open_session
from tests.conftest import CPU_RUNTIMES, ROOT, Tiny

SPEC = GraphSpec(
    (TensorSpec("z", "float32", ("batch", 4)), TensorSpec("k", "int64", ("batch",))),
    (TensorSpec("y", "float32", ("batch", 2)),),
)


class Fixed:
    """A graph that gives zeros, or always the same."""

    def __init__(self, output: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None) -> None:
        self._output, self.closed = output, 0

    def run(self, inputs: Arrays) -> Arrays:
        return {"y": np.zeros((len(inputs["z"]), 2), np.float32) if self._output is None else self._output}

    def close(self) -> None:
        self.closed += 1


def session(output: np.ndarray[tuple[int, ...], np.dtype[np.float32]] | None = None) -> Session:
    return Session(SPEC, Fixed(output), "fake")


Z, K = np.zeros((3, 4), np.float32), np.zeros(3, np.int64)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"z": Z}, "inputs are named z, the graph wants z, k"),
        ({}, r"inputs are named \(none\), the graph wants z, k"),
        ({"z": Z, "k": K, "m": K}, "inputs are named k, m, z, the graph wants z, k"),
        ({"z": Z.astype(np.float64), "k": K}, r"input z is float64 \[3, 4\], wanted float32 \['batch', 4\]"),
        ({"z": Z[:, :3], "k": K}, r"input z is float32 \[3, 3\], wanted float32"),
        ({"z": Z[0], "k": K}, r"input z is float32 \[4\], wanted"),
        ({"z": Z, "k": K[:2]}, r"input k is int64 \[2\], wanted int64 \['batch'\]"),
        ({"z": Z[:0], "k": K[:0]}, r"input z is float32 \[0, 4\], wanted"),
    ],
)
def test_ill_fitting_inputs_are_refused(inputs: Arrays, message: str) -> None:
    with pytest.raises(SessionError, match=message):
        session().run(inputs)


def test_ill_fitting_outputs_are_refused() -> None:
    assert session().run({"z": Z, "k": K})["y"].shape == (3, 2)
    with pytest.raises(SessionError, match=r"output y is float32 \[2, 2\], wanted float32 \['batch', 2\]"):
        session(np.zeros((2, 2), np.float32)).run({"z": Z, "k": K})


def test_an_unknown_runtime_is_refused() -> None:
    known = "onnxruntime, openvino, compiled, onnxruntime-cuda, tensorrt"
    with pytest.raises(SessionError, match=f"unknown runtime 'abacus'; known: {known}"):
        open_session("abacus", b"", SPEC, 1)


@pytest.mark.parametrize("runtime", CPU_RUNTIMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_rows_do_not_depend_on_their_batch_or_the_threads(tiny: Tiny, runtime: str, threads: int) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed: pip install -r requirements/serve.txt")
    data, spec = tiny.bundle.read_file("generator-fp32"), tiny.bundle.manifest.graphs["generator"]
    opened, single = (open_session(runtime, data, spec, n) for n in (threads, 1))
    z = np.random.default_rng(0).normal(size=(32, 100)).astype(np.float32)
    alone = np.concatenate([single.run({"z": z[i : i + 1]})["image"] for i in range(32)])
    for size in (1, 2, 4, 7, 8, 16, 32):
        np.testing.assert_array_equal(opened.run({"z": z[:size]})["image"], alone[:size])


@pytest.mark.parametrize("runtime", CPU_RUNTIMES)
def test_outputs_survive_the_next_run(tiny: Tiny, runtime: str) -> None:
    pytest.importorskip(runtime, reason=f"{runtime} is not installed: pip install -r requirements/serve.txt")
    data, spec = tiny.bundle.read_file("generator-fp32"), tiny.bundle.manifest.graphs["generator"]
    opened = open_session(runtime, data, spec, 1)
    first = opened.run({"z": np.full((1, 100), 2, np.float32)})["image"]
    kept = first.copy()
    opened.run({"z": np.full((1, 100), -2, np.float32)})
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize("runtime", CPU_RUNTIMES)
def test_a_session_ends_when_it_is_closed(tiny: Tiny, runtime: str) -> None:
    data, spec = tiny.bundle.read_file("generator-fp32"), tiny.bundle.manifest.graphs["generator"]
    inputs = {"z": np.zeros((2, 100), np.float32)}
    with open_session(runtime, data, spec, 1) as opened:
        assert opened.run(inputs)["image"].shape[0] == 2
    with pytest.raises(SessionError, match=f"the session in {runtime} is closed; open the graph again"):
        opened.run(inputs)
    opened.close()  # a second time it does nothing


def test_a_graph_is_closed_once() -> None:
    graph = Fixed()
    with Session(SPEC, graph, "fake") as opened:
        opened.run({"z": Z, "k": K})
    opened.close()
    assert graph.closed == 1


SIGNALLED = """
import gc, signal, sys
from pathlib import Path
from handlers import bundle
from handlers.runtimes.session import open_session
runtime, folder = sys.argv[1:]
tiny = bundle.read(Path(folder))
data, spec = tiny.read_file("generator-fp32"), tiny.manifest.graphs["generator"]
sessions = [open_session(runtime, data, spec, 1) for _ in range(3)]
while sessions:  # the first to be opened is the first to go
    del sessions[0]
    gc.collect()
signal.signal(signal.SIGALRM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGALRM)
"""


@pytest.mark.parametrize("runtime", CPU_RUNTIMES)
def test_signals_are_handled_when_sessions_have_gone(tiny: Tiny, runtime: str) -> None:
    """In a process of its own, which has to survive: the kernel ends one whose signal stack is unmapped."""
    pytest.importorskip(runtime, reason=f"{runtime} is not installed: pip install -r requirements/serve.txt")
    command = [sys.executable, "-c", SIGNALLED, runtime, str(tiny.bundle.directory)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (0, "handled\n"), answer.stderr
