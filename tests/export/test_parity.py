"""Parity compares every tensor on the same inputs; NaN, nothing, or too much is a failure that says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from export.graphs import Graph
from export.graphs.latent_image import describe
from export.parity import ROWS, ParityError, batch_invariant, compare, reference, tapped_spec
from export.to_onnx import ExportError, expose_tap, onnx_from_graph
from handlers.certificate import Difference
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.runtimes.runtime import Arrays, FunctionGraph
from handlers.runtimes.session import Session, open_session
from training.models.dcgan import ModelConfig, build


@pytest.fixture(scope="module")
def graph() -> Graph:
    generator, _ = build(ModelConfig(image_size=16, channels=4, latent=8), seed=0)
    return describe(generator.eval()).graphs["generator"]


@pytest.fixture(scope="module")
def expected(graph: Graph) -> dict[str, NDArray[Any]]:
    return reference(graph, seed=3)


def session(graph: Graph, expected: dict[str, NDArray[Any]], change: Any) -> Session:
    """A session that computes PyTorch's own numbers, changed."""

    def infer(inputs: Arrays) -> Arrays:
        with torch.inference_mode():
            pixels, image = (t.numpy().copy() for t in graph.module(torch.from_numpy(inputs["z"])))
        changed: Arrays = change({"pixels": pixels, "image": image})
        return changed

    return Session(tapped_spec(graph, expected), FunctionGraph(infer), "fake")


def test_equal_numbers_pass_and_are_recorded(graph: Graph, expected: dict[str, NDArray[Any]]) -> None:
    differences = compare(graph, session(graph, expected, lambda o: o), expected, seed=3)
    assert [(d.tensor, d.tolerance, d.values) for d in differences] == [
        ("pixels", 1e-3, ROWS * 3 * 16 * 16),
        ("image", 1, ROWS * 16 * 16 * 3),
    ]
    assert all(d.max_abs <= 1e-6 for d in differences)


def spoil(name: str, value: float) -> Any:
    def change(outputs: Arrays) -> Arrays:
        spoiled = outputs[name].astype(np.float32)
        spoiled.flat[7] += value
        outputs[name] = np.clip(spoiled, 0, 255).astype(np.uint8) if name == "image" else spoiled
        return outputs

    return change


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("pixels", float("nan"), "fake: tensor pixels is NaN somewhere .*no bundle was written"),
        ("pixels", 0.002, r"tensor pixels differs by up to 0\.002 from PyTorch over 64 rows, tolerance 0\.001"),
        ("image", 60, r"tensor image differs by up to \d+ from PyTorch over 64 rows, tolerance 1;"),
    ],
)
def test_differences_fail(
    graph: Graph, expected: dict[str, NDArray[Any]], name: str, value: float, message: str
) -> None:
    with pytest.raises(ParityError, match=message):
        compare(graph, session(graph, expected, spoil(name, value)), expected, seed=3)


def test_a_nan_in_pytorch_fails_too(graph: Graph, expected: dict[str, NDArray[Any]]) -> None:
    spoiled = {
        **expected,
        "pixels": np.where(expected["pixels"] == expected["pixels"].max(), np.nan, expected["pixels"]),
    }
    with pytest.raises(ParityError, match="tensor pixels is NaN somewhere"):
        compare(graph, session(graph, expected, lambda o: o), spoiled, seed=3)


@pytest.mark.parametrize("nothing", [{}, {"pixels": np.zeros((0, 3, 16, 16), np.float32)}])
def test_comparing_nothing_fails(
    graph: Graph, expected: dict[str, NDArray[Any]], nothing: dict[str, NDArray[Any]]
) -> None:
    with pytest.raises(ParityError, match="parity compared nothing"):
        compare(graph, session(graph, expected, lambda o: o), nothing, seed=3)


def test_a_difference_over_no_values_is_no_success() -> None:
    assert not Difference("t", 0.0, 0.0, 1.0, 0)
    assert Difference("t", 1.0, 0.5, 1.0, 9)


@pytest.mark.slow
def test_a_graph_that_looks_at_its_neighbours_is_found(graph: Graph) -> None:
    honest = open_session("onnxruntime", onnx_from_graph(graph), graph.spec, 1)
    assert batch_invariant(graph, honest, 8, seed=0)

    def nosy(inputs: Arrays) -> Arrays:
        image = honest.run(inputs)["image"].copy()
        image[0, 0, 0, 0] ^= len(image) == 5  # one bit of one pixel, at one batch size
        return {"image": image}

    assert not batch_invariant(graph, Session(graph.spec, FunctionGraph(nosy), "fake"), 8, seed=0)


@pytest.mark.slow
def test_the_file_offers_the_image_alone_and_the_tap_in_memory(graph: Graph) -> None:
    data = onnx_from_graph(graph)
    z = graph.example(3, seed=0)
    image = open_session("onnxruntime", data, graph.spec, 1).run(z)
    assert list(image) == ["image"]
    with torch.inference_mode():
        pixels, levels = graph.module(torch.from_numpy(z["z"]))
    np.testing.assert_allclose(image["image"].astype(int), levels.numpy().astype(int), atol=1)
    spec = tapped_spec(graph, {"pixels": pixels.numpy()})
    tapped = open_session("onnxruntime", expose_tap(data, "pixels"), spec, 1).run(z)
    np.testing.assert_allclose(tapped["pixels"], pixels.numpy(), atol=1e-5)
    assert (tapped["image"] == image["image"]).all()
    with pytest.raises(ValueError, match="no tensor called 'velvet'"):
        expose_tap(data, "velvet")


@pytest.mark.slow
def test_exports_are_reproducible_and_hold_no_paths(graph: Graph) -> None:
    first, second = onnx_from_graph(graph), onnx_from_graph(graph)
    assert first == second
    for leak in (b"/home/", b"/root/", b"/tmp/", b".py"):
        assert leak not in first


class Exotic(torch.nn.Module):
    """Uses an operator that ONNX has no form of."""

    config = ModelConfig(image_size=16, latent=16)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        square = torch.linalg.matrix_exp(z.reshape(-1, 4, 4))
        return torch.tanh(square[:, None].expand(-1, 3, -1, -1))


@pytest.mark.slow
def test_an_operator_without_an_onnx_form_is_named() -> None:
    message = r"at graph node %\w+: .*aten\.linalg_matrix_exp.*Write that part of the model with operators ONNX has"
    with pytest.raises(ExportError, match=message):
        onnx_from_graph(describe(Exotic()).graphs["generator"])


class Summed(torch.nn.Module):
    """Sums a row, or, when it is told to be wrong, averages it over its padded length."""

    def __init__(self, wrong: bool) -> None:
        super().__init__()
        self.wrong = wrong

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.mean(dim=1) if self.wrong else values.sum(dim=1)


@pytest.mark.parametrize("wrong", [False, True])
def test_a_result_that_depends_on_padding_is_not_invariant(wrong: bool) -> None:
    spec = GraphSpec(
        (TensorSpec("values", "float32", ("batch", "source")),), (TensorSpec("out", "float32", ("batch",)),)
    )

    def inputs(count: int, seed: int) -> dict[str, NDArray[Any]]:
        return {"values": np.arange(count * 8, dtype=np.float32).reshape(count, 8) + seed}

    def infer(arrays: Arrays) -> Arrays:
        return {"out": Summed(wrong)(torch.from_numpy(arrays["values"])).numpy()}

    padded = Graph(Summed(wrong), spec, None, 1e-3, 1e-3, inputs, free={"source": (8, 32)})
    assert batch_invariant(padded, Session(spec, FunctionGraph(infer), "fake"), 4, seed=1) is not wrong
