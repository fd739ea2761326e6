"""Row-wise INT8 is close to FP32, for every operator it claims, and a row never depends on its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.quantize import VariantError
from export.rowwise import quantize_rowwise
from handlers.runtimes.session import Arrays

INPUTS, HIDDEN = 24, 32


def model(node: onnx.NodeProto, shapes: dict[str, list[Any]], weights: dict[str, NDArray[Any]]) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    rank = {"MatMul": [2], "Gemm": [2], "LSTM": [4, 3, 3], "GRU": [4, 3]}[node.op_type]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * r)
        for name, r in zip(node.output, rank, strict=True)
        if name
    ]
    graph = helper.make_graph(
        [node], "g", inputs, outputs, [numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def random(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def dense(op: str, bias: bool, transposed: bool) -> onnx.ModelProto:
    names = ["x", "w"] + (["b"] if bias else [])
    attributes: dict[str, Any] = {"transB": 1} if transposed else {}
    weights = {"w": random(HIDDEN, INPUTS) if transposed else random(INPUTS, HIDDEN)}
    if bias:
        weights["b"] = random(HIDDEN, seed=1)
    node = helper.make_node(op, names, ["y"], "dense", **attributes)
    return model(node, {"x": ["batch", INPUTS]}, weights)


def recurrent(
    op: str, length: Any = 1, bias: bool = True, outputs: tuple[str, ...] = ("y", "h1", "c1")
) -> onnx.ModelProto:
    gates = {"LSTM": 4, "GRU": 3}[op]
    weights = {
        "w": random(1, gates * HIDDEN, INPUTS, scale=0.3),
        "r": random(1, gates * HIDDEN, HIDDEN, seed=1, scale=0.3),
    }
    if bias:
        weights["b"] = random(1, 2 * gates * HIDDEN, seed=2, scale=0.3)
    names = ["x", "w", "r", "b" if bias else "", "", "h"] + (["c"] if op == "LSTM" else [])
    shapes = {"x": [length, "batch", INPUTS], "h": [1, "batch", HIDDEN]}
    if op == "LSTM":
        shapes["c"] = [1, "batch", HIDDEN]
    extra: dict[str, Any] = {"linear_before_reset": 1} if op == "GRU" else {}
    node = helper.make_node(op, names, list(outputs[: 3 if op == "LSTM" else 2]), "cell", hidden_size=HIDDEN, **extra)
    return model(node, shapes, weights)


def run(data: bytes, inputs: Arrays) -> list[NDArray[Any]]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return list(session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()}))


def rows(graph: onnx.ModelProto, batch: int) -> tuple[Arrays, int]:
    """Inputs for a batch, and the axis their rows are on."""
    if len(graph.graph.input) == 1:
        return {"x": random(batch, INPUTS, seed=5)}, 0
    state = {name: random(1, batch, HIDDEN, seed=i, scale=0.5) for i, name in enumerate(("h", "c"), 6)}
    return {"x": random(1, batch, INPUTS, seed=5), **state}, 1


CASES = {
    "matmul": dense("MatMul", False, False),
    "gemm": dense("Gemm", False, False),
    "gemm with bias": dense("Gemm", True, False),
    "gemm transposed": dense("Gemm", True, True),
    "lstm": recurrent("LSTM"),
    "lstm without bias": recurrent("LSTM", bias=False),
    "lstm, states alone": recurrent("LSTM", outputs=("", "h1", "c1")),
    "gru": recurrent("GRU"),
    "gru, state alone": recurrent("GRU", outputs=("", "h1")),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_close_to_fp32(name: str) -> None:
    graph = CASES[name]
    inputs, _ = rows(graph, 16)
    quantized = quantize_rowwise(graph)
    assert not {node.op_type for node in onnx.load_from_string(quantized).graph.node} & {
        "LSTM",
        "GRU",
        "Gemm",
        "MatMul",
    }
    for found, wanted in zip(run(quantized, inputs), run(graph.SerializeToString(), inputs), strict=True):
        assert found.shape == wanted.shape
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert 0 < error < 0.03, error


@pytest.mark.parametrize("name", CASES)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    graph = CASES[name]
    quantized = quantize_rowwise(graph)
    inputs, axis = rows(graph, 32)
    together = run(quantized, inputs)
    loud = {key: np.concatenate([value, 100 * value], axis=axis) for key, value in inputs.items()}
    with_loud = run(quantized, loud)
    for i in (0, 7, 31):
        alone = run(quantized, {key: value.take([i], axis=axis) for key, value in inputs.items()})
        for one, many, more in zip(alone, together, with_loud, strict=True):
            row_axis = one.ndim - 2
            np.testing.assert_array_equal(one, many.take([i], axis=row_axis))
            np.testing.assert_array_equal(one, more.take([i], axis=row_axis))


def test_a_row_of_zeros_stays_zero() -> None:
    (result,) = run(quantize_rowwise(CASES["matmul"]), {"x": np.zeros((2, INPUTS), np.float32)})
    np.testing.assert_array_equal(result, 0)


@pytest.mark.parametrize(
    "graph", [recurrent("LSTM", length=5), recurrent("LSTM", length="time"), recurrent("GRU", length=2)]
)
def test_longer_sequences_are_left_alone(graph: onnx.ModelProto) -> None:
    with pytest.raises(VariantError, match="no MatMul, Gemm, LSTM or GRU by constant weights"):
        quantize_rowwise(graph)
