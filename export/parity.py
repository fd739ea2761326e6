"""The same inputs through PyTorch and a session, compared tensor by tensor. NaN fails; comparing nothing fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from export.graphs import Graph
from handlers.certificate import Difference
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.runtimes.session import Session

ROWS = 64
PARITY_SEED = 1000
TILE = 16  # rows per call: the batch dimension is exercised, and memory stays bounded at any image size


class ParityError(ValueError):
    """The exported graph does not compute what PyTorch computes."""


def reference(graph: Graph, seed: int, rows: int = ROWS) -> dict[str, NDArray[Any]]:
    """PyTorch's tap and outputs for `rows` realistic inputs."""
    inputs = graph.example(rows, seed)
    names = graph.names
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    with torch.inference_mode():
        for at in range(0, rows, TILE):
            tensors = [torch.from_numpy(inputs[spec.name][at : at + TILE]) for spec in graph.spec.inputs]
            for name, value in zip(names, graph.module(*tensors), strict=True):
                parts[name].append(value.numpy())
    return {name: np.concatenate(values) for name, values in parts.items()}


def tapped_spec(
    graph: Graph, side: Mapping[str, NDArray[Any]], dtype: Literal["float32", "float16"] = "float32"
) -> GraphSpec:
    """The graph's spec with the tap, if it has one, as a further output, for a session over `expose_tap`'s file."""
    if graph.tap is None:
        return graph.spec
    tap = TensorSpec(graph.tap, dtype, ("batch", *side[graph.tap].shape[1:]))
    return GraphSpec(graph.spec.inputs, (tap, *graph.spec.outputs))


def compare(graph: Graph, session: Session, expected: Mapping[str, NDArray[Any]], seed: int) -> list[Difference]:
    """Differences of every tensor in `expected`. Raises `ParityError` on NaN, on nothing to compare, over tolerance."""
    rows = min((len(value) for value in expected.values()), default=0)
    if rows == 0:
        raise ParityError("parity compared nothing: there are no expected tensors or no rows")
    inputs = graph.example(rows, seed)
    parts = [session.run({k: v[at : at + TILE] for k, v in inputs.items()}) for at in range(0, rows, TILE)]
    differences = []
    for name, wanted in expected.items():
        found = np.concatenate([part[name] for part in parts])
        gap = np.abs(found.astype(np.float64) - wanted.astype(np.float64))
        tolerance = graph.tap_tolerance if name == graph.tap else graph.output_tolerance
        difference = Difference(name, float(gap.max(initial=0.0)), float(gap.mean()), tolerance, gap.size)
        if not difference:
            problem = "is NaN somewhere" if np.isnan(gap).any() else f"differs by up to {difference.max_abs:.3g}"
            raise ParityError(
                f"{session.runtime}: tensor {name} {problem} from PyTorch over {rows} rows, tolerance {tolerance:g}; "
                "no bundle was written"
            )
        differences.append(difference)
    return differences


def batch_invariant(graph: Graph, session: Session, largest: int, seed: int) -> bool:
    """Whether a row alone gives the same bits as among up to `largest` rows, however it is padded."""
    inputs = graph.example(largest, seed)
    if not _padding_invariant(graph, session, inputs):
        return False
    alone = [session.run({k: v[i : i + 1] for k, v in inputs.items()}) for i in range(largest)]
    for size in range(2, largest + 1):  # every size: kernels change at odd ones, and any may occur in service
        together = session.run({k: v[:size] for k, v in inputs.items()})
        for name, array in together.items():
            if any(not np.array_equal(array[i], alone[i][name][0]) for i in range(size)):
                return False
    return True


def _padding_invariant(graph: Graph, session: Session, inputs: Mapping[str, NDArray[Any]]) -> bool:
    """Whether the outputs keep every bit when the free dimensions are padded with more zeros."""

    def padded(name: str, more: int) -> dict[str, NDArray[Any]]:
        widths = {s.name: [(0, more if size == name else 0) for size in s.shape] for s in graph.spec.inputs}
        return {key: np.pad(array, widths[key]) for key, array in inputs.items()}

    wanted = session.run(inputs)
    for name, (step, most) in graph.free.items():
        here = next(inputs[s.name].shape[s.shape.index(name)] for s in graph.spec.inputs if name in s.shape)
        for more in sorted({step, 2 * step, max(step, most - here)}):
            found = session.run(padded(name, more))
            for key, array in wanted.items():
                same = found[key][tuple(slice(0, size) for size in array.shape)]
                if not np.array_equal(same, array):
                    return False
    return True
