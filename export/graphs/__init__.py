"""One file per generator kind: how its checkpoint becomes graphs, parameters and limits. Imported by name, lazily."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray
from torch import nn

from handlers.generator import Model
from handlers.graph_spec import GraphSpec
from handlers.limits import AnyLimits
from handlers.manifest import Resources
from handlers.params import ParamSpec
from handlers.runtimes.blocks import Block
from handlers.runtimes.runtime import Arrays, FunctionGraph
from handlers.runtimes.session import Session


@dataclasses.dataclass(frozen=True)
class Graph:
    """One role of a generator, ready for the exporter.

    `module` takes the inputs of `spec` in order and returns the tensor called `tap` followed by the outputs of `spec`.
    The tap is the result before it is rounded to integers: parity reads it in memory, the file does not offer it. A
    graph whose outputs are not rounded has none.
    """

    module: nn.Module
    spec: GraphSpec
    tap: str | None
    tap_tolerance: float  # largest absolute difference to PyTorch at the tap
    output_tolerance: float  # and at the outputs, in levels where they are integers
    inputs: Any  # (count, seed) -> {name: array}: inputs as they occur in service
    # Free dimensions besides the batch: the step they grow by, and the most. Padding with zeros must change nothing.
    free: Mapping[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    written_out: str | None = None  # the ONNX operator (LSTM, GRU) that stands in the graph as its matrix products

    @property
    def names(self) -> list[str]:
        """Names of the tensors that `module` returns, in order: the tap, if there is one, then the outputs."""
        return [*([] if self.tap is None else [self.tap]), *(output.name for output in self.spec.outputs)]

    def torch_session(self) -> Session:
        """PyTorch itself behind the interface of a session: what every other one is compared with."""
        import torch

        def run(inputs: Arrays) -> Arrays:
            with torch.inference_mode():
                values = self.module(*(torch.from_numpy(inputs[spec.name]) for spec in self.spec.inputs))
            named = dict(zip(self.names, values, strict=True))
            return {spec.name: named[spec.name].numpy() for spec in self.spec.outputs}

        return Session(self.spec, FunctionGraph(run), "torch")

    def example(self, count: int, seed: int) -> dict[str, NDArray[Any]]:
        """`count` rows of realistic inputs, the same for the same seed."""
        rows: dict[str, NDArray[Any]] = self.inputs(count, seed)
        return rows


@dataclasses.dataclass(frozen=True)
class GeneratorKind:
    """A trained generator as the file of its kind describes it: graphs, parameters, limits, how variants are judged."""

    graphs: dict[str, Graph]
    params: tuple[ParamSpec, ...]
    limits: AnyLimits
    content_types: tuple[str, ...]
    scope: str
    resources: Resources
    example: dict[str, Any]  # a request that works
    render: Callable[[Mapping[str, Session], int, int], Any]  # (sessions, count, seed) -> what is compared, one an item
    quality: Callable[[Any, Any], dict[str, float]]  # (FP32's, a variant's) -> figures
    budget: dict[str, float]  # the least a variant must reach, by figure
    golden_items: tuple[dict[str, Any], ...]
    calls: Mapping[str, int] = dataclasses.field(default_factory=dict)  # runs of a graph for one request, where not 1
    # (count, seed) -> the Block that a request has a graph compute, by role, where it is not served by single runs.
    blocks: Mapping[str, Callable[[int, int], Block]] = dataclasses.field(default_factory=dict)
    assets: Mapping[str, bytes] = dataclasses.field(default_factory=dict)  # JSON files of the bundle, by identifier

    def served_inputs(self, count: int, seed: int) -> dict[str, Any]:
        """By role, what speed is measured on: a block, or `count` rows of inputs."""
        return {
            role: self.blocks[role](count, seed) if role in self.blocks else graph.example(count, seed)
            for role, graph in self.graphs.items()
        }

    def model(self, name: str, kind: str) -> Model:
        """The model before there is a bundle of it; `kind` is the name of the file that described it."""
        specs = {role: graph.spec for role, graph in self.graphs.items()}
        return Model(name, "unwritten", kind, self.params, self.limits, specs, self.example, self.assets)


def load(kind: str, module: nn.Module) -> GeneratorKind:
    """The description of a trained module of a kind. Raises `ModuleNotFoundError` for a kind without a file here."""
    described: GeneratorKind = importlib.import_module(f"export.graphs.{kind}").describe(module)
    return described
