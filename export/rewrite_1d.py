"""A ConvTranspose along one dimension, of any kernel and stride, as one Conv and a pixel shuffle: the same numbers.

With x the input, w the kernel, s the stride and p the padding at the beginning, output t is the sum of
x[i] w[t + p - s i]. For t = s q + r (phase r of s) these are the taps s d + r + p of x[q - d], so every phase is a Conv
of its own over x, and all of them together one Conv of s times the channels, padded to the longest reach of any (Shi et
al. 2016, arXiv:1609.07009, read backwards). Taps that a phase does not have are 0: of a kernel of 25 at stride 4, 3 in
28. Nothing is cropped where the output is exactly s times as long as the input, which alone is rewritten.

The channels of a phase stand beside each other, so with channels last the shuffle is another way to read the same
bytes: runtimes whose kernels have channels last take the two transpositions away with their own.

A Relu behind it, if nothing else reads what it reads, is taken before the shuffle: there runtimes make it part of the
Conv.

Dimensions: I input channels, O output channels, K kernel size, D taps of a phase, L length.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

Arrays = dict[str, NDArray[Any]]


def unfit(kernel: NDArray[Any], given: Mapping[str, Any]) -> str | None:
    """Why a ConvTranspose of kernel (I, O, K) with these attributes is left alone, or None."""
    if given["group"] != 1 or set(given["dilations"]) != {1}:
        return "it has groups or dilation"
    (stride,), (begin, end), (extra,) = given["strides"], given["pads"], given["output_padding"]
    longer = kernel.shape[2] - stride - begin - end + extra
    if longer:
        return f"its output is {longer:+d} samples from {stride} times its input, wanted exactly {stride} times"
    return None


def phases(
    node: onnx.NodeProto, kernel: NDArray[Any], bias: NDArray[Any] | None, given: Mapping[str, Any], added: Arrays
) -> list[onnx.NodeProto]:
    """The nodes in its place; their constants go into `added`."""
    name, (stride,), begin = node.output[0], given["strides"], given["pads"][0]
    inputs, outputs, size = kernel.shape
    # Phase r reads x[q - d] for s d + r + p from 0 to K - 1.
    lowest = -((stride - 1 + begin) // stride)
    highest = (size - 1 - begin) // stride
    conv = np.zeros((stride, outputs, inputs, highest - lowest + 1), kernel.dtype)
    for phase in range(stride):
        for d in range(lowest, highest + 1):
            tap = stride * d + phase + begin
            if 0 <= tap < size:
                conv[phase, :, :, highest - d] = kernel[:, :, tap].T  # a Conv reads upwards, from x[q - highest] on
    added[f"{name}_kernel"] = conv.reshape(stride * outputs, inputs, -1)
    reads = [node.input[0], f"{name}_kernel"]
    if bias is not None:
        added[f"{name}_bias"] = np.tile(bias, stride)
        reads.append(f"{name}_bias")
    width, pads = conv.shape[-1], [highest, -lowest]
    added[f"{name}_join"] = np.array([0, -1, outputs], np.int64)
    last, first, turn = f"{name}_channels_last", f"{name}_joined", [0, 2, 1]
    return [
        helper.make_node("Conv", reads, [f"{name}_phases"], f"{node.name}_conv", kernel_shape=[width], pads=pads),
        helper.make_node("Transpose", [f"{name}_phases"], [last], f"{node.name}_turn", perm=turn),
        helper.make_node("Reshape", [last, f"{name}_join"], [first], f"{node.name}_join"),
        helper.make_node("Transpose", [first], [name], f"{node.name}_turn_back", perm=turn),
    ]


def rectified_first(
    nodes: Sequence[onnx.NodeProto], shuffled: Iterable[str], kept: Iterable[str]
) -> list[onnx.NodeProto]:
    """The nodes with each Relu of a tensor in `shuffled` (made by `phases`) taken before its shuffle.

    Tensors that anything else reads, or that are among `kept`, stay as they are.
    """
    readers = Counter(name for node in nodes for name in node.input)
    readers.update(kept)
    single = {name for name in shuffled if readers[name] == 1}
    relus = {node.input[0]: node for node in nodes if node.op_type == "Relu" and node.input[0] in single}
    found: list[onnx.NodeProto] = []
    for node in nodes:
        made = onnx.NodeProto()
        made.CopyFrom(node)
        if node.op_type == "Relu" and node.input[0] in relus:
            continue
        for name, relu in relus.items():
            if node.input[0] == f"{name}_phases":  # its shuffle begins
                found.append(helper.make_node("Relu", [f"{name}_phases"], [f"{name}_rectified"], relu.name))
                made.input[0] = f"{name}_rectified"
            if node.output[0] == name:  # and ends
                made.output[0] = relu.output[0]
        found.append(made)
    return found
