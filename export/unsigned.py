"""A rectified Conv before a shuffle, in integers: quantized once, unsigned, and shuffled as bytes.

Static quantization leaves Conv, Q, DQ, Relu, shuffle, Q, DQ: two roundings, and a shuffle of FP32 numbers. Unsigned
integers begin at 0, so quantizing to them is the Relu; the second scale, over 255 steps in place of 127, serves for
both. Runtimes make one integer kernel of Conv and Q, and move bytes in the shuffle.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export.onnx_graph import Constants, constants, replace_nodes

SHUFFLES = ("Reshape", "Transpose")


def unsigned_shuffles(data: bytes) -> bytes:
    """The file with that done wherever nothing else reads what lies between; as it is where there is no such place."""
    model = onnx.load_from_string(data)
    weights, readers = constants(model), defaultdict(list)
    for node in model.graph.node:
        for name in node.input:
            readers[name].append(node)
    for output in model.graph.output:
        readers[output.name].append(output)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, NDArray[Any]] = {}
    gone: set[str] = set()  # by the name of what a node makes
    for node in model.graph.node:
        if node.output[0] in gone:
            continue
        nodes.append(node)
        if node.op_type == "Conv" and (between := _between(node, readers, weights)):
            nodes += _unsigned(node, between, weights, added)
            gone |= {each.output[0] for each in between}
    if not gone:
        return data
    replace_nodes(model, [_copy(node) for node in nodes], added)
    made: bytes = model.SerializeToString(deterministic=True)
    return made


def _between(
    conv: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]], weights: Constants
) -> list[onnx.NodeProto]:
    """The nodes after a Conv up to the second DQ, or none where they are not those that are wanted."""
    found: list[onnx.NodeProto] = []
    at = conv.output[0]
    while len(readers[at]) == 1 and isinstance(node := readers[at][0], onnx.NodeProto):
        found.append(node)
        at = node.output[0]
        if node.op_type == "DequantizeLinear" and len(found) > 2:
            break
    kinds = [node.op_type for node in found]
    shuffles = found[3:-2]
    wanted = ["QuantizeLinear", "DequantizeLinear", "Relu", *(node.op_type for node in shuffles)]
    if kinds != [*wanted, "QuantizeLinear", "DequantizeLinear"] or not shuffles:
        return []
    if any(node.op_type not in SHUFFLES for node in shuffles):
        return []
    zero = weights.get(found[-2].input[2]) if len(found[-2].input) > 2 else None  # without one it is unsigned
    signed = zero is not None and zero.dtype == np.int8 and not zero.any() and zero.ndim == 0
    return found if signed else []


def _unsigned(
    conv: onnx.NodeProto, between: list[onnx.NodeProto], weights: Constants, added: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    name = conv.output[0]
    scale, zero, at = f"{name}_unsigned_scale", f"{name}_unsigned_zero", f"{name}_unsigned"
    added[scale] = np.array(weights[between[-2].input[1]] * np.float32(127) / np.float32(255), np.float32)
    added[zero] = np.array(0, np.uint8)
    made = [helper.make_node("QuantizeLinear", [name, scale, zero], [at], f"{at}_quantize")]
    for node in between[3:-2]:
        moved = _copy(node)
        moved.input[0], moved.output[0] = at, f"{node.output[0]}_unsigned"
        at = moved.output[0]
        made.append(moved)
    made.append(helper.make_node("DequantizeLinear", [at, scale, zero], [between[-1].output[0]], f"{at}_dequantize"))
    return made


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made
