"""Row-wise INT8: matrix products whose activations get one scale per row, so that a row never depends on its batch.

Per row s = max|x| / 127; q = round(x / s) + 128 as UINT8; MatMulInteger(q, W, zero point 128) with INT8 weights, one
scale per output column; cast, times s, times the column's scale. Written in plain ONNX operators, it needs no special
kernel, and unsigned activations meet the fast integer kernels of CPUs (signed ones are several times slower). LSTM and
GRU nodes of one time step are written out as their gates, with the products quantized; LSTM nodes of many steps:
rowwise_sequence.py. TensorRT and OpenVINO do not take it: CPU only.

Dimensions: B rows, I inputs, H hidden, G gates (4 for LSTM, 3 for GRU), O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.onnx_graph import Constants, attributes, constants, replace_nodes
from export.quantize import VariantError
from export.rowwise_sequence import fold, quantize_sequences

TINY = np.float32(1e-20)  # keeps a row of zeros from dividing by zero


class Writer:
    """Collects nodes and constants under names that start with the node they replace."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._count = 0

    def constant(self, array: Any) -> str:
        """Store a constant; returns its name."""
        name = self._name()
        self.constants[name] = np.asarray(array)
        return name

    def call(self, op: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        output = output or self._name()
        self.nodes.append(helper.make_node(op, list(inputs), [output], f"{output}_{op}", **attributes))
        return output

    def _name(self) -> str:
        self._count += 1
        return f"{self.prefix}_q{self._count}"

    def quantized_rows(self, x: str) -> tuple[str, str]:
        """x (..., I) -> its UINT8 codes around 128 and its scale per row (..., 1)."""
        largest = self.call("ReduceMax", self.call("Abs", x), self.constant(np.array([-1], np.int64)), keepdims=1)
        scale = self.call("Max", self.call("Mul", largest, self.constant(np.float32(1 / 127))), self.constant(TINY))
        codes = self.call("Add", self.call("Round", self.call("Div", x, scale)), self.constant(np.float32(128)))
        return self.call("Cast", codes, to=onnx.TensorProto.UINT8), scale

    def product(self, rows: tuple[str, str], weight: NDArray[Any], output: str | None = None) -> str:
        """Quantized rows (..., I) times weight (I, O) -> float (..., O)."""
        column = np.maximum(np.abs(weight).max(axis=0) / 127, TINY).astype(np.float32)  # (O,)
        codes = np.rint(weight / column).astype(np.int8)
        product = self.call("MatMulInteger", rows[0], self.constant(codes), self.constant(np.uint8(128)))
        scaled = self.call("Mul", self.call("Cast", product, to=onnx.TensorProto.FLOAT), rows[1])
        return self.call("Mul", scaled, self.constant(column), output=output)


def quantize_rowwise(model: onnx.ModelProto) -> bytes:
    """`model`, serialized, with row-wise products for every MatMul and Gemm by a constant, LSTM and one-step GRU.

    Raises `VariantError` when the graph has none of them.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    sequences = 0
    if any(node.op_type == "LSTM" for node in result.graph.node):
        result = fold(result)
        sequences = quantize_sequences(result)
    weights = constants(result)
    lengths = _sequence_lengths(result)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, NDArray[Any]] = {}
    replaced = sequences
    for node in result.graph.node:
        writer = Writer(node.output[0] or node.name)
        rewrite = _REWRITES.get(node.op_type)
        if rewrite is not None and rewrite(writer, node, weights, lengths):
            nodes += writer.nodes
            added |= writer.constants
            replaced += 1
        else:
            nodes.append(node)
    if replaced == 0:
        raise VariantError("the graph has no MatMul, Gemm, LSTM or GRU by constant weights to quantize row by row")
    replace_nodes(result, nodes, added)
    return bytes(result.SerializeToString(deterministic=True))


def _sequence_lengths(model: onnx.ModelProto) -> dict[str, int]:
    """The first dimension of every tensor (0 where free): the length of what goes into a recurrent node."""
    inferred = onnx.shape_inference.infer_shapes(model)
    values = [*inferred.graph.value_info, *inferred.graph.input]
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {name: dims[0].dim_value if dims else 0 for name, dims in shapes.items()}


def _matmul(w: Writer, node: onnx.NodeProto, weights: Constants, _: dict[str, int]) -> bool:
    weight = weights.get(node.input[1])
    if weight is None or weight.ndim != 2:
        return False
    w.product(w.quantized_rows(node.input[0]), weight, output=node.output[0])
    return True


def _gemm(w: Writer, node: onnx.NodeProto, weights: Constants, _: dict[str, int]) -> bool:
    given = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | attributes(node)
    weight = weights.get(node.input[1])
    if weight is None or given["transA"] or given["alpha"] != 1.0 or given["beta"] != 1.0:
        return False
    rows = w.quantized_rows(node.input[0])
    if len(node.input) > 2 and node.input[2]:
        product = w.product(rows, weight.T if given["transB"] else weight)
        w.call("Add", product, node.input[2], output=node.output[0])
    else:
        w.product(rows, weight.T if given["transB"] else weight, output=node.output[0])
    return True


def _recurrent_parts(
    node: onnx.NodeProto, weights: Constants, lengths: dict[str, int], gates: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]] | None:
    """(W (G*H, I), R (G*H, H), bias (2*G*H,)) of a one-step, one-direction node with default activations, else None."""
    given = attributes(node)
    wanted = {"hidden_size", "direction", "linear_before_reset", "layout", "input_forget"}
    names = [node.input[i] if len(node.input) > i else "" for i in range(8)]
    if set(given) - wanted or given.get("direction", b"forward") != b"forward" or given.get("layout", 0):
        return None
    if given.get("input_forget", 0) or names[4] or names[7] or not names[5] or lengths.get(names[0]) != 1:
        return None
    if names[1] not in weights or names[2] not in weights or (names[3] and names[3] not in weights):
        return None
    kernel, recurrent = weights[names[1]][0], weights[names[2]][0]
    bias = weights[names[3]][0] if names[3] else np.zeros(2 * gates * recurrent.shape[1], np.float32)
    return kernel, recurrent, bias


def _lstm(w: Writer, node: onnx.NodeProto, weights: Constants, lengths: dict[str, int]) -> bool:
    """Gates i, o, f, c as ONNX orders them: c' = f c + i g, h' = o tanh(c')."""
    parts = _recurrent_parts(node, weights, lengths, gates=4)
    if parts is None or len(node.input) < 7 or not node.input[6]:
        return False
    kernel, recurrent, bias = parts
    hidden = recurrent.shape[1]
    x, h, c = (_squeezed(w, node.input[i]) for i in (0, 5, 6))
    total = _gate_sum(w, x, h, kernel, recurrent, bias[: 4 * hidden] + bias[4 * hidden :])
    i, o, f, g = _split(w, total, 4)
    i, o, f, g = w.call("Sigmoid", i), w.call("Sigmoid", o), w.call("Sigmoid", f), w.call("Tanh", g)
    cell = w.call("Add", w.call("Mul", f, c), w.call("Mul", i, g))
    _outputs(w, node, w.call("Mul", o, w.call("Tanh", cell)), cell)
    return True


def _gru(w: Writer, node: onnx.NodeProto, weights: Constants, lengths: dict[str, int]) -> bool:
    """Gates z, r, h as ONNX orders them, for linear_before_reset (the form PyTorch exports): h' = (1 - z) n + z h."""
    parts = _recurrent_parts(node, weights, lengths, gates=3)
    if parts is None or not attributes(node).get("linear_before_reset", 0):
        return False
    kernel, recurrent, bias = parts
    hidden = recurrent.shape[1]
    x, h = (_squeezed(w, node.input[i]) for i in (0, 5))
    from_x = w.call("Add", w.product(w.quantized_rows(x), kernel.T), w.constant(bias[: 3 * hidden]))
    from_h = w.call("Add", w.product(w.quantized_rows(h), recurrent.T), w.constant(bias[3 * hidden :]))
    (xz, xr, xn), (hz, hr, hn) = _split(w, from_x, 3), _split(w, from_h, 3)
    z, r = w.call("Sigmoid", w.call("Add", xz, hz)), w.call("Sigmoid", w.call("Add", xr, hr))
    n = w.call("Tanh", w.call("Add", xn, w.call("Mul", r, hn)))
    _outputs(w, node, w.call("Add", n, w.call("Mul", z, w.call("Sub", h, n))), None)
    return True


def _squeezed(w: Writer, name: str) -> str:
    return w.call("Squeeze", name, w.constant(np.array([0], np.int64)))  # (1, B, N) -> (B, N)


def _gate_sum(w: Writer, x: str, h: str, kernel: NDArray[Any], recurrent: NDArray[Any], bias: NDArray[Any]) -> str:
    """x W^T + h R^T + bias (B, G*H). Input and state get a scale each: their ranges are unrelated."""
    from_x = w.product(w.quantized_rows(x), kernel.T)
    from_h = w.product(w.quantized_rows(h), recurrent.T)
    return w.call("Add", w.call("Add", from_x, from_h), w.constant(bias.astype(np.float32)))


def _split(w: Writer, name: str, parts: int) -> list[str]:
    outputs = [w.call("Identity", name) for _ in range(parts)]
    del w.nodes[-parts:]
    w.nodes.append(helper.make_node("Split", [name], outputs, f"{outputs[0]}_Split", axis=-1, num_outputs=parts))
    return outputs


def _outputs(w: Writer, node: onnx.NodeProto, hidden: str, cell: str | None) -> None:
    """Y (1, 1, B, H), Y_h (1, B, H) and Y_c (1, B, H) of a one-step node, those of them that are used."""
    results = [(hidden, [0, 1]), (hidden, [0]), (cell, [0])]
    for name, (value, axes) in zip(node.output, results, strict=False):
        if name and value is not None:
            w.call("Unsqueeze", value, w.constant(np.array(axes, np.int64)), output=name)


_REWRITES: dict[str, Callable[[Writer, onnx.NodeProto, Constants, dict[str, int]], bool]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "LSTM": _lstm,
    "GRU": _gru,
}
