"""An LSTM over many positions in INT8: close to FP32, and a row depends on neither its neighbours nor its padding."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.rowwise_sequence import DOMAIN, fold, quantize_sequences

INPUTS, HIDDEN, POSITIONS = 24, 32, 20
LENGTHS = [20, 13, 1, 7]


def random(*shape: int, seed: int = 0, scale: float = 0.3) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def sequence(
    op: str = "LSTM", first: float = 0.0, outputs: tuple[str, ...] = ("y",), lengths: str = "lengths", **attributes: Any
) -> onnx.ModelProto:
    """x (S, B, I), as an exporter leaves it: nodes put weights together and spread the first state over the batch."""
    gates = {"LSTM": 4, "GRU": 3}[op]
    halves = random(2, 1, gates * HIDDEN // 2, INPUTS)
    constants = {
        "upper": halves[0],
        "lower": halves[1],
        "r": random(1, gates * HIDDEN, HIDDEN, seed=1),
        "b": random(1, 2 * gates * HIDDEN, seed=2),
        "nothing": np.full((1, 1, HIDDEN), first, np.float32),
    }
    state = ["first", "first"] if op == "LSTM" else ["first"]
    nodes = [
        helper.make_node("Concat", ["upper", "lower"], ["w"], axis=1),
        helper.make_node("Shape", ["x"], ["batch"], start=1, end=2),
        helper.make_node("Constant", [], ["one"], value_ints=[1]),
        helper.make_node("Concat", ["one", "batch", "one"], ["spread"], axis=0),
        helper.make_node("Expand", ["nothing", "spread"], ["first"]),
        helper.make_node(op, ["x", "w", "r", "b", "", *state], list(outputs), hidden_size=HIDDEN, **attributes),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["source", "batch", INPUTS]),
        helper.make_tensor_value_info(lengths, TensorProto.INT64, ["batch"]),
    ]
    ranks = zip(outputs, (4, 3, 3), strict=False)
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name, rank in ranks if name]
    held = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "g", inputs, given, held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, x: NDArray[np.float32], lengths: list[int]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": x, "lengths": np.array(lengths, np.int64)})[0]
    return found


@pytest.fixture(scope="module")
def quantized() -> onnx.ModelProto:
    model = fold(sequence())
    assert quantize_sequences(model) == 1
    return model


def test_it_is_close_to_fp32_where_there_is_no_padding(quantized: onnx.ModelProto) -> None:
    x = random(POSITIONS, len(LENGTHS), INPUTS, seed=3, scale=1.0)
    wanted, found = run(sequence(), x, LENGTHS), run(quantized, x, LENGTHS)
    assert found.shape == wanted.shape
    for row, length in enumerate(LENGTHS):
        error = np.abs(found[:length, :, row] - wanted[:length, :, row]).max() / np.abs(wanted).max()
        assert 0 < error < 0.03, error
        assert not found[length:, :, row].any()


def test_a_row_depends_neither_on_its_neighbours_nor_on_its_padding(quantized: onnx.ModelProto) -> None:
    x = random(POSITIONS, len(LENGTHS), INPUTS, seed=3, scale=1.0)
    together = run(quantized, x, LENGTHS)
    loud = np.concatenate([x, 100 * x], axis=1)
    longer = np.concatenate([x, 50 * x])
    beside, padded = run(quantized, loud, LENGTHS * 2), run(quantized, longer, LENGTHS)
    for row, length in enumerate(LENGTHS):
        alone = run(quantized, np.ascontiguousarray(x[:length, row : row + 1]), [length])[:, :, 0]
        for other in (together, beside, padded):
            np.testing.assert_array_equal(other[:length, :, row], alone)


def test_it_is_the_kernel_of_whole_sequences(quantized: onnx.ModelProto) -> None:
    (scan,) = (node for node in quantized.graph.node if node.op_type == "Scan")
    (body,) = (helper.get_attribute_value(a) for a in scan.attribute if a.name == "body")
    assert [node.domain for node in body.node if node.op_type == "DynamicQuantizeLSTM"] == [DOMAIN.domain]
    assert sum(opset.domain == DOMAIN.domain for opset in quantized.opset_import) == 1


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(sequence(first=0.5), id="a first state that is not zero"),
        pytest.param(sequence(outputs=("y", "h")), id="a last state that is read"),
        pytest.param(sequence("GRU", linear_before_reset=1), id="GRU"),
        pytest.param(sequence(lengths="sizes"), id="no lengths"),
        pytest.param(sequence(direction="reverse"), id="backwards"),
        pytest.param(sequence(activations=["Sigmoid", "Relu", "Tanh"]), id="other activations"),
    ],
)
def test_others_are_left_alone(model: onnx.ModelProto) -> None:
    folded = fold(model)
    before = folded.SerializeToString(deterministic=True)
    assert quantize_sequences(folded) == 0
    assert folded.SerializeToString(deterministic=True) == before
