"""ConvTranspose as Conv: the same numbers in an operator that every runtime has a quantized kernel for.

A stride-2, kernel-4, padding-1 ConvTranspose is one Conv with kernel 2, padding 1 and twice the channels per dimension,
then a pixel shuffle, then a crop of one on each side (Shi et al. 2016, arXiv:1609.07009, read backwards). Along one
dimension, with x the input and w the kernel:

    y[2m]     = x[m - 1] w[3] + x[m] w[1]
    y[2m + 1] = x[m] w[2] + x[m + 1] w[0]

so position j of a kernel-2 Conv over the padded input sees (x[j - 1], x[j]) and gives y[2j - 1] with the taps
(w[2], w[0]) and y[2j] with (w[3], w[1]). A stride-1, kernel-4, padding-0 layer is a Conv with the kernel reversed and
padding 3, or a matrix product where its input is one pixel. FLOPs stay equal but for the padding of that last case.
Along one dimension other kernels and strides are rewritten, too: `rewrite_1d`.

Dimensions: I input channels, O output channels, K = 4 kernel size, D = 1 or 2 spatial dimensions.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from export import rewrite_1d
from export.onnx_graph import Constants, attributes, constants, replace_nodes

OPSET = 18


@dataclasses.dataclass(frozen=True)
class Rewritten:
    """A rewritten graph and what happened to each of its ConvTranspose nodes."""

    model: onnx.ModelProto
    done: tuple[str, ...]
    left: dict[str, str]  # node name -> why it was left alone


def rewrite_transposed(model: onnx.ModelProto) -> Rewritten:
    """A copy of `model` in which every ConvTranspose of a known shape is a Conv; others stay and are named."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    weights = constants(result)
    sizes = _spatial_sizes(result)
    nodes: list[onnx.NodeProto] = []
    added: dict[str, NDArray[Any]] = {}
    done: list[str] = []
    shuffled: list[str] = []
    left: dict[str, str] = {}
    for node in result.graph.node:
        if node.op_type != "ConvTranspose":
            nodes.append(node)
            continue
        reason = _unfit(node, weights)
        if reason is not None:
            left[node.name] = reason
            nodes.append(node)
            continue
        kernel = weights[node.input[1]]
        bias = weights[node.input[2]] if len(node.input) > 2 and node.input[2] else None
        one_pixel = all(size == 1 for size in sizes.get(node.input[0], [0]))
        if kernel.ndim == 3 and not _known(node, kernel):
            nodes += rewrite_1d.phases(node, kernel, bias, _attributes(node), added)
            shuffled.append(node.output[0])
        elif _attributes(node)["strides"][0] == 2:
            nodes += _from_stride_2(node, kernel, bias, added)
        elif one_pixel:
            nodes += _from_one_pixel(node, kernel, bias, added)
        else:
            nodes += _from_stride_1(node, kernel, bias, added)
        done.append(node.name)
    nodes = rewrite_1d.rectified_first(nodes, shuffled, [output.name for output in result.graph.output])
    replace_nodes(result, nodes, added)
    return Rewritten(result, tuple(done), left)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of a ConvTranspose, with their defaults where they are not set."""
    given = attributes(node)
    dims = len(given.get("kernel_shape", given.get("strides", [1, 1])))
    defaults = {
        "strides": [1] * dims,
        "pads": [0] * 2 * dims,
        "dilations": [1] * dims,
        "output_padding": [0] * dims,
        "group": 1,
    }
    return defaults | given


def _unfit(node: onnx.NodeProto, weights: Constants) -> str | None:  # noqa: PLR0911 (a reason a line)
    """Why a ConvTranspose is left alone, or None."""
    if node.input[1] not in weights:
        return "its kernel is not a constant"
    if len(node.input) > 2 and node.input[2] and node.input[2] not in weights:
        return "its bias is not a constant"
    given = _attributes(node)
    if "output_shape" in given or given.get("auto_pad", b"NOTSET") not in (b"NOTSET", "NOTSET"):
        return "its padding follows from an output shape"
    if weights[node.input[1]].ndim == 3 and not _known(node, weights[node.input[1]]):
        return rewrite_1d.unfit(weights[node.input[1]], given)
    kernel = list(weights[node.input[1]].shape[2:])
    if len(kernel) not in (1, 2) or set(kernel) != {4}:
        return f"its kernel is {kernel}, wanted 4 in one or two dimensions"
    if given["group"] != 1 or set(given["dilations"]) != {1} or any(given["output_padding"]):
        return "it has groups, dilation or output padding"
    stride, pads = set(given["strides"]), set(given["pads"])
    if (stride, pads) not in (({2}, {1}), ({1}, {0})):
        return f"stride {given['strides']} with padding {given['pads']}, wanted 2 with 1 or 1 with 0"
    return None


def _known(node: onnx.NodeProto, kernel: NDArray[Any]) -> bool:
    """Whether it is one of the two shapes above, along any number of dimensions."""
    given = _attributes(node)
    plain = given["group"] == 1 and set(given["dilations"]) == {1} and not any(given["output_padding"])
    shape = (set(kernel.shape[2:]), set(given["strides"]), set(given["pads"]))
    return plain and shape in (({4}, {2}, {1}), ({4}, {1}, {0}))


def _spatial_sizes(model: onnx.ModelProto) -> dict[str, list[int]]:
    """Known spatial sizes of every tensor (0 where free)."""
    inferred = onnx.shape_inference.infer_shapes(model)
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    return {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim][2:] for value in values}


def _from_stride_2(
    node: onnx.NodeProto, kernel: NDArray[Any], bias: NDArray[Any] | None, added: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    name, dims = node.output[0], kernel.ndim - 2
    taps = [(2, 0), (3, 1)]  # phase 0 gives the odd outputs, phase 1 the even ones
    phases = [np.take(kernel, taps[phase], axis=2) for phase in (0, 1)]  # each (I, O, 2[, K])
    if dims == 2:
        phases = [np.take(rows, taps[phase], axis=3) for rows in phases for phase in (0, 1)]  # each (I, O, 2, 2)
    stacked = np.stack(phases, axis=2)  # (I, O, 2**D, 2, ...): DepthToSpace in CRD order wants O outermost
    conv = np.ascontiguousarray(stacked.reshape(kernel.shape[0], -1, *[2] * dims).swapaxes(0, 1))
    added[f"{name}_kernel"] = conv
    inputs = [node.input[0], f"{name}_kernel"]
    if bias is not None:
        added[f"{name}_bias"] = np.repeat(bias, 2**dims)
        inputs.append(f"{name}_bias")
    nodes = [
        helper.make_node(
            "Conv", inputs, [f"{name}_phases"], f"{node.name}_conv", kernel_shape=[2] * dims, pads=[1] * 2 * dims
        )
    ]
    if dims == 2:
        nodes.append(
            helper.make_node(
                "DepthToSpace",
                [f"{name}_phases"],
                [f"{name}_uncropped"],
                f"{node.name}_shuffle",
                blocksize=2,
                mode="CRD",
            )
        )
    else:
        added[f"{name}_split"] = np.array([0, kernel.shape[1], 2, -1], np.int64)
        added[f"{name}_join"] = np.array([0, kernel.shape[1], -1], np.int64)
        nodes += [
            helper.make_node("Reshape", [f"{name}_phases", f"{name}_split"], [f"{name}_pairs"], f"{node.name}_split"),
            helper.make_node(
                "Transpose", [f"{name}_pairs"], [f"{name}_turned"], f"{node.name}_turn", perm=[0, 1, 3, 2]
            ),
            helper.make_node("Reshape", [f"{name}_turned", f"{name}_join"], [f"{name}_uncropped"], f"{node.name}_join"),
        ]
    added[f"{name}_starts"] = np.ones(dims, np.int64)
    added[f"{name}_ends"] = np.full(dims, -1, np.int64)
    added[f"{name}_axes"] = np.arange(2, 2 + dims, dtype=np.int64)
    crop = [f"{name}_uncropped", f"{name}_starts", f"{name}_ends", f"{name}_axes"]
    return [*nodes, helper.make_node("Slice", crop, [name], f"{node.name}_crop")]


def _from_stride_1(
    node: onnx.NodeProto, kernel: NDArray[Any], bias: NDArray[Any] | None, added: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    name, dims = node.output[0], kernel.ndim - 2
    reversed_kernel = np.flip(kernel, axis=tuple(range(2, 2 + dims)))
    added[f"{name}_kernel"] = np.ascontiguousarray(reversed_kernel.swapaxes(0, 1))  # (O, I, K, ...)
    inputs = [node.input[0], f"{name}_kernel"]
    if bias is not None:
        added[f"{name}_bias"] = bias
        inputs.append(f"{name}_bias")
    return [helper.make_node("Conv", inputs, [name], f"{node.name}_conv", kernel_shape=[4] * dims, pads=[3] * 2 * dims)]


def _from_one_pixel(
    node: onnx.NodeProto, kernel: NDArray[Any], bias: NDArray[Any] | None, added: dict[str, NDArray[Any]]
) -> list[onnx.NodeProto]:
    name = node.output[0]
    added[f"{name}_matrix"] = kernel.reshape(kernel.shape[0], -1)  # (I, O * K**D)
    added[f"{name}_flat"] = np.array([-1, kernel.shape[0]], np.int64)
    added[f"{name}_shape"] = np.array([-1, *kernel.shape[1:]], np.int64)
    product = f"{name}_product"
    nodes = [
        helper.make_node("Reshape", [node.input[0], f"{name}_flat"], [f"{name}_row"], f"{node.name}_flatten"),
        helper.make_node("MatMul", [f"{name}_row", f"{name}_matrix"], [product], f"{node.name}_matmul"),
    ]
    if bias is not None:
        added[f"{name}_bias"] = np.repeat(bias, int(np.prod(kernel.shape[2:])))
        nodes.append(helper.make_node("Add", [product, f"{name}_bias"], [f"{product}_biased"], f"{node.name}_bias"))
        product = f"{product}_biased"
    return [*nodes, helper.make_node("Reshape", [product, f"{name}_shape"], [name], f"{node.name}_unflatten")]
