"""The rewritten graph computes the original's numbers for every shape it claims; others are left alone and named."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.rewrite import rewrite_transposed


def graph(
    kernel: NDArray[Any], bias: NDArray[Any] | None, size: list[int | None], **attributes: Any
) -> onnx.ModelProto:
    names = ["x", "w"] + (["b"] if bias is not None else [])
    node = helper.make_node("ConvTranspose", names, ["y"], "up", **attributes)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", kernel.shape[0], *size])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * kernel.ndim)]
    constants = [numpy_helper.from_array(kernel, "w")] + ([] if bias is None else [numpy_helper.from_array(bias, "b")])
    made = helper.make_graph([node], "g", inputs, outputs, constants)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model: onnx.ModelProto, x: NDArray[Any]) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: NDArray[Any] = session.run(None, {"x": x})[0]
    return result


@given(
    dims=st.sampled_from([1, 2]),
    stride=st.sampled_from([1, 2]),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    sides=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    batch=st.integers(1, 3),
    with_bias=st.booleans(),
    free=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=120)
def test_the_rewrite_is_exact(
    dims: int,
    stride: int,
    channels: tuple[int, int],
    sides: tuple[int, int],
    batch: int,
    with_bias: bool,
    free: bool,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(*channels, *[4] * dims)).astype(np.float32)
    bias = random.normal(size=channels[1]).astype(np.float32) if with_bias else None
    x = random.normal(size=(batch, channels[0], *sides[:dims])).astype(np.float32)
    size: list[int | None] = [None] * dims if free else list(sides[:dims])
    original = graph(kernel, bias, size, strides=[stride] * dims, pads=[stride - 1] * 2 * dims)
    rewritten = rewrite_transposed(original)
    assert rewritten.done == ("up",)
    assert rewritten.left == {}
    assert "ConvTranspose" not in {node.op_type for node in rewritten.model.graph.node}
    np.testing.assert_allclose(run(rewritten.model, x), run(original, x), rtol=0, atol=1e-5 * np.sqrt(channels[0]))


@given(
    channels=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    size=st.integers(1, 26),
    stride=st.integers(1, 5),
    begin=st.integers(0, 14),
    length=st.integers(1, 9),
    batch=st.integers(1, 3),
    with_bias=st.booleans(),
    free=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
@example(channels=(3, 2), size=25, stride=4, begin=11, length=16, batch=2, with_bias=True, free=False, seed=0)
@settings(deadline=None, max_examples=200)
def test_the_rewrite_of_waves_is_exact(
    channels: tuple[int, int],
    size: int,
    stride: int,
    begin: int,
    length: int,
    batch: int,
    with_bias: bool,
    free: bool,
    seed: int,
) -> None:
    """Any kernel and stride along one dimension whose output is exactly stride times as long as its input."""
    end = size - stride - begin
    extra = 0
    if end < 0 and begin < size:
        end, extra = 0, -end
    assume(begin < size and end >= 0 and extra < stride)
    random = np.random.default_rng(seed)
    kernel = random.normal(size=(*channels, size)).astype(np.float32)
    bias = random.normal(size=channels[1]).astype(np.float32) if with_bias else None
    x = random.normal(size=(batch, channels[0], length)).astype(np.float32)
    attributes = {"strides": [stride], "pads": [begin, end], "output_padding": [extra], "kernel_shape": [size]}
    original = graph(kernel, bias, [None if free else length], **attributes)
    rewritten = rewrite_transposed(original)
    assert (rewritten.done, rewritten.left) == (("up",), {})
    assert "ConvTranspose" not in {node.op_type for node in rewritten.model.graph.node}
    found = run(rewritten.model, x)
    assert found.shape[2] == stride * length
    np.testing.assert_allclose(found, run(original, x), rtol=0, atol=1e-5 * np.sqrt(channels[0]))


@pytest.mark.parametrize("read_twice", [False, True])
def test_a_rectifier_goes_before_the_shuffle_unless_something_else_reads_what_it_reads(read_twice: bool) -> None:
    kernel = np.random.default_rng(0).normal(size=(3, 2, 25)).astype(np.float32)
    model = graph(kernel, None, [6], strides=[4], pads=[11, 10])
    model.graph.node[0].output[0] = "up"
    model.graph.node.append(helper.make_node("Relu", ["up"], ["bent" if read_twice else "y"], "bend"))
    if read_twice:
        model.graph.node.append(helper.make_node("Sub", ["bent", "up"], ["y"], "less"))
    x = np.random.default_rng(1).normal(size=(2, 3, 6)).astype(np.float32)
    found = rewrite_transposed(model).model
    assert [node.op_type for node in found.graph.node] == [
        "Conv",
        *([] if read_twice else ["Relu"]),
        *("Transpose", "Reshape", "Transpose"),
        *(["Relu", "Sub"] if read_twice else []),
    ]
    np.testing.assert_allclose(run(found, x), run(model, x), rtol=0, atol=1e-5)


def test_one_pixel_becomes_a_matrix_product() -> None:
    model = graph(np.ones((3, 2, 4, 4), np.float32), None, [1, 1], strides=[1, 1], pads=[0] * 4)
    assert [node.op_type for node in rewrite_transposed(model).model.graph.node] == ["Reshape", "MatMul", "Reshape"]


@pytest.mark.parametrize(
    ("shape", "attributes", "reason"),
    [
        ((2, 2, 3, 3), {"strides": [2, 2], "pads": [1] * 4}, r"its kernel is [3, 3], wanted 4"),
        (
            (2, 2, 4, 4),
            {"strides": [2, 2], "pads": [0] * 4},
            "stride [2, 2] with padding [0, 0, 0, 0], wanted 2 with 1",
        ),
        ((2, 2, 4, 4), {"strides": [3, 3], "pads": [1] * 4}, "stride [3, 3] with padding"),
        ((2, 2, 4, 4), {"strides": [2, 2], "pads": [1] * 4, "dilations": [2, 2]}, "it has groups, dilation or output"),
        ((2, 2, 4, 4), {"strides": [2, 2], "pads": [1] * 4, "group": 2}, "it has groups"),
        ((2, 2, 4, 4), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}, "it has groups, dilation or"),
        ((2, 2, 4, 4), {"strides": [2, 2], "output_shape": [8, 8]}, "its padding follows from an output shape"),
        ((2, 2, 25), {"strides": [4], "pads": [11, 11]}, "its output is -1 samples from 4 times its input, wanted"),
        ((2, 2, 25), {"strides": [4], "pads": [11, 10], "group": 2}, "it has groups or dilation"),
        ((2, 2, 25), {"strides": [4], "output_shape": [16]}, "its padding follows from an output shape"),
        ((2, 2, 4, 4, 4), {"strides": [2] * 3, "pads": [1] * 6}, "its kernel is [4, 4, 4], wanted 4 in one or two"),
    ],
)
def test_other_shapes_are_left_alone(shape: tuple[int, ...], attributes: dict[str, Any], reason: str) -> None:
    side: list[int | None] = [4] * (len(shape) - 2)
    model = graph(np.ones(shape, np.float32), None, side, kernel_shape=list(shape[2:]), **attributes)
    rewritten = rewrite_transposed(model)
    assert rewritten.done == ()
    assert list(rewritten.left) == ["up"]
    assert rewritten.left["up"].startswith(reason)
    assert [node.op_type for node in rewritten.model.graph.node] == ["ConvTranspose"]


def test_the_original_is_not_touched() -> None:
    model = graph(np.ones((2, 2, 4, 4), np.float32), None, [4, 4], strides=[2, 2], pads=[1] * 4)
    before = model.SerializeToString()
    rewrite_transposed(model)
    assert model.SerializeToString() == before
