"""Row-wise INT8 of an LSTM over many positions: one row at a time, as far as it is no padding.

ONNX Runtime has an INT8 kernel for whole sequences, DynamicQuantizeLSTM. It takes one activation scale for all that it
is given, so the rows of a batch would depend on each other and on their padding. Here a Scan gives it each row alone,
cut to its length. Batches gain nothing by that, but one row is three times as fast as in FP32, and faster than a row of
a batch of 32. There is no such kernel for GRU.

Dimensions: B rows, S positions, I inputs, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxscript import optimizer

from export.onnx_graph import Constants, attributes, constants

LENGTHS = "lengths"  # the graph's input (B,) that says how many positions of each row are no padding
DOMAIN = helper.make_opsetid("com.microsoft", 1)
_ALL = 1 << 40  # bytes: exporters put the gates into ONNX's order by nodes, which are to become constants
_UNUSED = (1, 2)  # outputs: the last states are picked out of all
_CARRIES = ("Slice", "Expand", "Unsqueeze", "Squeeze", "Reshape", "Identity", "Transpose")  # zeros stay zeros


def fold(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with the weights of its recurrent nodes as constants."""
    optimizer.fold_constants(model, input_size_limit=_ALL, output_size_limit=_ALL)
    optimizer.remove_unused_nodes(model)
    return model


def quantize_sequences(model: onnx.ModelProto) -> int:
    """Rewrite, in place, every LSTM that begins with zeros and whose last states nobody reads; returns how many."""
    weights = constants(model)
    producers = {output: node for node in model.graph.node for output in node.output}
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    if not any(value.name == LENGTHS for value in model.graph.input):
        return 0
    nodes: list[onnx.NodeProto] = []
    done = 0
    for node in model.graph.node:
        if node.op_type == "LSTM" and _fits(node, weights, producers, read):
            nodes += _rewritten(node, weights)
            done += 1
        else:
            nodes.append(node)
    if done:
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        model.opset_import.append(DOMAIN)
    return done


def _fits(node: onnx.NodeProto, weights: Constants, producers: Mapping[str, onnx.NodeProto], read: set[str]) -> bool:
    given = attributes(node)
    plain = given.pop("direction", b"forward") == b"forward" and not given.pop("layout", 0)
    names = [node.input[i] if len(node.input) > i else "" for i in range(8)]
    return (
        plain
        and not given.pop("input_forget", 0)
        and set(given) <= {"hidden_size"}
        and all(name in weights for name in names[1:4])
        and not names[4]
        and not names[7]
        and all(not name or _zero(name, weights, producers) for name in names[5:7])
        and not any(node.output[at] in read for at in _UNUSED if len(node.output) > at and node.output[at])
    )


def _zero(name: str, weights: Constants, producers: Mapping[str, onnx.NodeProto]) -> bool:
    while name not in weights:
        node = producers.get(name)
        if node is None or node.op_type not in _CARRIES:
            return False
        name = node.input[0]
    return not weights[name].any()


def _rewritten(node: onnx.NodeProto, weights: Constants) -> list[onnx.NodeProto]:
    """X (S, B, I) -> Y (S, 1, B, H), with zeros for the padding."""
    y = node.output[0]
    rows, found, turned, axis = (f"{y}_{part}" for part in ("rows", "found", "turned", "axis"))
    return [
        helper.make_node("Transpose", [node.input[0]], [rows], f"{y}_Rows", perm=[1, 0, 2]),
        helper.make_node("Scan", [rows, LENGTHS], [found], f"{y}_Scan", body=_row(node, weights), num_scan_inputs=2),
        helper.make_node("Transpose", [found], [turned], f"{y}_Turned", perm=[1, 0, 2]),
        helper.make_node("Constant", [], [axis], f"{y}_Axis", value_ints=[1]),
        helper.make_node("Unsqueeze", [turned, axis], [y], f"{y}_Y"),
    ]


def _row(node: onnx.NodeProto, weights: Constants) -> onnx.GraphProto:
    """x (S, I) and its length () -> y (S, H), its positions behind the length zero."""
    kernel, recurrent, bias = (weights[node.input[at]] for at in (1, 2, 3))
    (w, w_scale), (r, r_scale) = _codes(kernel), _codes(recurrent)
    arrays = {"w": w, "r": r, "bias": bias, "w_scale": w_scale, "r_scale": r_scale}
    arrays |= {"zero_points": np.zeros(w_scale.shape, np.int8), "zero": _ints(0), "one": _ints(1)}
    arrays |= {"directions": _ints(1, 2), "before": _ints(0, 0)}
    hidden = recurrent.shape[2]
    kernel_inputs = ["steps", "w", "r", "bias", "", "", "", "", "w_scale", "zero_points", "r_scale", "zero_points"]
    nodes = [
        helper.make_node("Unsqueeze", ["length", "zero"], ["end"]),
        helper.make_node("Slice", ["x", "zero", "end", "zero"], ["read"]),
        helper.make_node("Unsqueeze", ["read", "one"], ["steps"]),  # a batch of one
        helper.make_node(
            "DynamicQuantizeLSTM", kernel_inputs, ["all"], domain=DOMAIN.domain, hidden_size=hidden, direction="forward"
        ),
        helper.make_node("Squeeze", ["all", "directions"], ["written"]),
        helper.make_node("Shape", ["x"], ["positions"], start=0, end=1),
        helper.make_node("Sub", ["positions", "end"], ["padding"]),
        helper.make_node("Concat", ["before", "padding", "zero"], ["pads"], axis=0),
        helper.make_node("Pad", ["written", "pads"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, kernel.shape[2]])
    length = helper.make_tensor_value_info("length", TensorProto.INT64, [])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, hidden])
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    return helper.make_graph(nodes, f"{node.output[0]}_row", [x, length], [y], held)


def _codes(weight: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """(1, 4H, N) -> INT8 (1, N, 4H), as the kernel wants it, and a scale per column (1, 4H)."""
    turned = weight.transpose(0, 2, 1)
    scale = np.maximum(np.abs(turned).max(axis=1) / 127, 1e-20).astype(np.float32)
    return np.rint(turned / scale[:, None]).astype(np.int8), scale


def _ints(*values: int) -> NDArray[np.int64]:
    return np.array(values, np.int64)
