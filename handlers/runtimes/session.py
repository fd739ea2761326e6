"""A graph in any runtime: names, element types and shapes are checked, of what it takes and of what it gives."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.manifest import Precision
from handlers.runtimes.blocks import Block, BlockGraph, by_steps
from handlers.runtimes.device import thread_count
from handlers.runtimes.registry import find
from handlers.runtimes.runtime import Arrays, OpenGraph, SessionError, first_line


class Session:
    """An open graph: `run` it as often as wanted, then `close` it, or use it as a context manager.

    Arrays go in and come out by name; the batch dimension is free.
    """

    def __init__(self, spec: GraphSpec, graph: OpenGraph, runtime: str) -> None:
        self.spec, self.runtime = spec, runtime
        self._graph: OpenGraph | None = graph
        self._spent = threading.local()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def seconds(self) -> float:
        """Spent computing so far by the thread that asks."""
        return float(getattr(self._spent, "seconds", 0.0))

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Arrays:
        """Compute all outputs.

        Raises `SessionError` for missing, unknown or ill-fitting arrays, in or out, and when the session is closed.
        """
        if self._graph is None:
            raise SessionError(f"the session in {self.runtime} is closed; open the graph again")
        sizes: dict[str, int] = {}
        check("input", inputs, self.spec.inputs, sizes)
        began = time.perf_counter()
        outputs = self._graph.run(dict(inputs))
        self._spent.seconds = self.seconds + time.perf_counter() - began
        check("output", outputs, self.spec.outputs, sizes)
        return outputs

    def block(self, block: Block) -> NDArray[np.int64]:
        """The levels (B, K) of many samples of a step graph, drawn one after the other; the rings are changed.

        A runtime that has no code for it computes them by `run`. Raises `SessionError` as `run` does.
        """
        block.check()
        graph: object = self._graph
        if not isinstance(graph, BlockGraph):
            return by_steps(self.run, block)
        began = time.perf_counter()
        levels = graph.block(block)
        self._spent.seconds = self.seconds + time.perf_counter() - began
        return levels

    def close(self) -> None:
        """Give back what the runtime holds; a second time it does nothing."""
        graph, self._graph = self._graph, None
        if graph is not None:
            graph.close()


def check(what: str, arrays: Mapping[str, NDArray[Any]], specs: tuple[TensorSpec, ...], sizes: dict[str, int]) -> None:
    """Raise `SessionError` unless `arrays` are as `specs` say; `sizes` collects the free dimensions by name."""
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

    `precision` is what the runtime may compute unquantized parts in.
    """
    wanted = find(runtime)
    if precision not in wanted.precisions:
        raise SessionError(f"{runtime} computes in {', '.join(wanted.precisions)}; {precision} is not among them")
    try:
        return Session(spec, wanted.opener(model, spec, thread_count(threads), precision), runtime)
    except ImportError as error:
        raise SessionError(
            f"runtime {runtime} is not installed ({error}); pip install -r {wanted.requirements}"
        ) from None
    except SessionError:
        raise
    except Exception as error:  # every runtime has its own exceptions: unsupported operator, damaged file, no device
        raise SessionError(f"{runtime} does not load the graph: {first_line(error)}") from error
