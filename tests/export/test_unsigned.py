"""Rectified Convs before a shuffle, quantized once and unsigned: nearer to FP32, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.quantize import quantize_static
from export.rewrite import rewrite_transposed
from export.unsigned import unsigned_shuffles

ROWS, LENGTH = 32, 9


def two_stages(rectified: bool = True) -> onnx.ModelProto:
    """ConvTranspose (kernel 25, stride 4), Relu, ConvTranspose."""
    random = np.random.default_rng(0)
    kernels = {"a": random.normal(size=(6, 8, 25)), "b": random.normal(size=(8, 3, 25))}
    up: dict[str, Any] = {"kernel_shape": [25], "strides": [4], "pads": [11, 10]}
    nodes = [
        helper.make_node("ConvTranspose", ["x", "a"], ["h"], "first", **up),
        helper.make_node("Relu" if rectified else "Tanh", ["h"], ["bent"], "bend"),
        helper.make_node("ConvTranspose", ["bent", "b"], ["y"], "second", **up),
    ]
    made = helper.make_graph(
        nodes,
        "two",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 6, LENGTH])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 3, 16 * LENGTH])],
        [numpy_helper.from_array(kernel.astype(np.float32), name) for name, kernel in kernels.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return rewrite_transposed(model).model


def rows() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=(ROWS, 6, LENGTH)).astype(np.float32)


def run(data: bytes) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {"x": rows()})[0]
    return found


def signed(model: onnx.ModelProto, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What the quantizer makes of it by itself."""
    monkeypatch.setattr("export.quantize.unsigned_shuffles", lambda data: data)
    return quantize_static(model, {"x": rows()}, lambda _: 1.0).data


def test_it_is_rounded_once_and_nearer_to_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    model = two_stages()
    before = signed(model, monkeypatch)
    after = unsigned_shuffles(before)
    kinds = [node.op_type for node in onnx.load_from_string(after).graph.node]
    assert "Relu" not in kinds
    at = kinds.index("Conv")
    assert kinds[at + 1 : at + 6] == ["QuantizeLinear", "Transpose", "Reshape", "Transpose", "DequantizeLinear"]
    wanted = run(model.SerializeToString())
    assert np.square(run(after) - wanted).mean() < np.square(run(before) - wanted).mean()
    compiled = openvino.Core().compile_model(openvino.Core().read_model(after), "CPU")
    np.testing.assert_allclose(compiled(rows())[0], wanted, rtol=0, atol=0.03 * np.abs(wanted).max())


def test_a_shuffle_that_is_not_rectified_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signed(two_stages(rectified=False), monkeypatch)
    assert unsigned_shuffles(before) is before


def test_what_something_else_reads_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    model = onnx.load_from_string(signed(two_stages(), monkeypatch))
    relu = next(node for node in model.graph.node if node.op_type == "Relu")
    model.graph.output.append(helper.make_tensor_value_info(relu.output[0], onnx.TensorProto.FLOAT, None))
    data = model.SerializeToString()
    assert unsigned_shuffles(data) is data


def test_static_quantization_has_it_done() -> None:
    made = quantize_static(two_stages(), {"x": rows()}, lambda _: 1.0)
    zeros = [
        tensor for tensor in onnx.load_from_string(made.data).graph.initializer if tensor.name.endswith("unsigned_zero")
    ]
    assert [numpy_helper.to_array(tensor).dtype for tensor in zeros] == [np.uint8]
