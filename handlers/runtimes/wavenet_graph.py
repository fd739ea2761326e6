"""The step graph of a WaveNet, read node by node: every one must stand where the compiled step will compute it.

Nothing is taken for granted: what follows from names, or from the order of nodes, could be another network. The walk
goes from the outputs to the inputs; at the end every node of the file must have been met.

Dimensions: L layers, R residual, S skip channels, C condition, H hidden, Q levels.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from handlers.onnx_file import OnnxError
from handlers.runtimes.onnx_nodes import Node, Nodes, read_nodes
from handlers.runtimes.runtime import SessionError

LARGEST = 1e6  # of a weight: below it no sum of these layers leaves float32, so a score is never infinite or NaN
Array = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Weights:
    """All weights, each matrix (inputs, outputs), contiguous."""

    embedding: Array  # (Q, R)
    condition: Array  # (C, H)
    condition_bias: Array  # (H,)
    spread: Array  # (H, L * 2 R)
    spread_bias: Array  # (L, 2 R)
    gates: Array  # (L, 2 R, 2 R): of [earlier, now]
    outs: Array  # (L, R, R + S)
    out_biases: Array  # (L, R + S)
    head: Array  # (S, S)
    head_bias: Array  # (S,)
    output: Array  # (S, Q)
    output_bias: Array  # (Q,)


def read_weights(data: bytes) -> Weights:
    """The weights of a step graph. Raises `SessionError` that names the first node which is none of a WaveNet's."""
    try:
        nodes = read_nodes(data)
    except OnnxError as error:
        raise SessionError(f"the file {error}") from None
    return _Walk(nodes).weights()


class _Walk:
    """From the outputs to the inputs."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._met: set[int] = set()

    def weights(self) -> Weights:
        push = self._node("push", "Concat", axis=(1,))
        layers = len(push.inputs)
        relu = self._node("logits", "Gemm")
        output, output_bias = self._matrix(relu)
        head_node = self._node(self._node(relu.inputs[0], "Relu").inputs[0], "Gemm")
        head, head_bias = self._matrix(head_node)
        below = [self._only(self._node(name, "Unsqueeze"), (1,)) for name in push.inputs]
        residual = self._constant(self._node(below[0], "Gather").inputs[0]).shape[1]
        outs = self._skips(self._node(head_node.inputs[0], "Relu").inputs[0], layers, residual)
        gates, out_weights = [], []
        spread_name: str | None = None
        for at, name in enumerate(outs):
            product = self._node(name, "Gemm")
            out_weights.append(self._matrix(product))
            gate, view = self._gate(product.inputs[0], below[at], at)
            gates.append(gate)
            if spread_name not in (None, view):
                raise _refuse(f"layer {at} is conditioned by {view}, the layers below by {spread_name}")
            spread_name = view
            if at:
                self._residual(below[at], below[at - 1], outs[at - 1], residual)
        assert spread_name is not None
        spread_node = self._node(self._node(spread_name, "Reshape").inputs[0], "Gemm")
        spread, spread_bias = self._matrix(spread_node)
        condition_node = self._node(self._node(spread_node.inputs[0], "Relu").inputs[0], "Gemm")
        condition, condition_bias = self._matrix(condition_node)
        embedding_node = self._node(below[0], "Gather", axis=(0, None))
        self._is(condition_node.inputs[0], "condition")
        self._is(embedding_node.inputs[1], "sample")
        if len(self._met) != self._nodes.count:
            raise _refuse(f"of {self._nodes.count} nodes {len(self._met)} are a WaveNet's step")
        found = Weights(
            embedding=_float(self._constant(embedding_node.inputs[0])),
            condition=condition,
            condition_bias=condition_bias,
            spread=spread,
            spread_bias=spread_bias.reshape(layers, 2 * residual),
            gates=np.ascontiguousarray(gates),
            outs=np.ascontiguousarray([weight for weight, _ in out_weights]),
            out_biases=np.ascontiguousarray([bias for _, bias in out_weights]),
            head=head,
            head_bias=head_bias,
            output=output,
            output_bias=output_bias,
        )
        for field, array in vars(found).items():
            if not (np.abs(array) < LARGEST).all():
                raise _refuse(f"{field} holds a number that is not below {LARGEST:g}")
        return found

    def _skips(self, name: str, layers: int, residual: int) -> list[str]:
        """The products whose skip parts are summed to `name`, first layer first."""
        parts: list[str] = []
        for _ in range(layers - 1):
            add = self._node(name, "Add")
            parts.append(add.inputs[1])
            name = add.inputs[0]
        return [self._slice(part, residual, first=False) for part in reversed([*parts, name])]

    def _gate(self, name: str, below: str, at: int) -> tuple[Array, str]:
        """The weights of a layer's gates, and the tensor that conditions all layers."""
        product = self._node(name, "Mul")
        tanh, sigmoid = self._node(product.inputs[0], "Tanh"), self._node(product.inputs[1], "Sigmoid")
        split = self._node(tanh.inputs[0], "Split", axis=(1, -1))
        if (tanh.inputs[0], sigmoid.inputs[0]) != split.outputs:
            raise _refuse(f"tanh and sigmoid of layer {at} do not read the two halves of its gates in order")
        add = self._node(split.inputs[0], "Add")
        gemm, condition = self._node(add.inputs[0], "Gemm"), self._node(add.inputs[1], "Gather", axis=(1,))
        both = self._node(gemm.inputs[0], "Concat", axis=(1, -1))
        past = self._node(both.inputs[0], "Gather", axis=(1,))
        self._is(past.inputs[0], "past")
        self._is(both.inputs[1], below)
        if {int(self._constant(node.inputs[1])) for node in (past, condition)} != {at}:
            raise _refuse(f"layer {at} reads the past or the condition of another one")
        weight, bias = self._matrix(gemm)
        if bias.any():
            raise _refuse(f"the gates of layer {at} have a bias of their own")
        return weight, condition.inputs[0]

    def _residual(self, name: str, below: str, out: str, residual: int) -> None:
        add = self._node(name, "Add")
        self._is(add.inputs[0], below)
        if self._slice(add.inputs[1], residual, first=True) != out:
            raise _refuse(f"{name} adds another layer's output than that of the layer below")

    def _slice(self, name: str, residual: int, first: bool) -> str:
        """What is cut along axis 1: its residual part (`first`), or its skip part."""
        node = self._node(name, "Slice")
        begin, end, axis, step = (int(self._constant(part)[0]) for part in node.inputs[1:])
        width = self._matrix(self._node(node.inputs[0], "Gemm"))[1].shape[0]
        whole = (begin, end) == (0, residual) if first else begin == residual and end >= width
        if (axis, step) != (1, 1) or not whole:
            raise _refuse(f"{name} cuts [{begin}:{end}:{step}] out of axis {axis}")
        return node.inputs[0]

    def _matrix(self, node: Node) -> tuple[Array, Array]:
        """(inputs, outputs) of a Gemm and its bias, zeros without one."""
        attributes = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0, **node.attributes}
        if (attributes["alpha"], attributes["beta"], attributes["transA"]) != (1.0, 1.0, 0):
            raise _refuse(f"{node.outputs[0]} is a scaled or turned product")
        weight = _float(self._constant(node.inputs[1]))
        weight = np.ascontiguousarray(weight.T) if attributes["transB"] else weight
        bias = _float(self._constant(node.inputs[2])) if len(node.inputs) > 2 else np.zeros(weight.shape[1], np.float32)
        return weight, bias

    def _node(self, name: str, operator: str, axis: tuple[int | None, ...] | None = None) -> Node:
        """The node that gives a tensor; it must be of that operator and, where one is given, along that axis."""
        node = self._nodes.by_output.get(name)
        if node is None or node.operator != operator:
            raise _refuse(f"{name} comes from {node.operator if node else 'no node'}, wanted {operator}")
        if axis is not None and node.attributes.get("axis") not in axis:
            raise _refuse(f"{name} is made along axis {node.attributes.get('axis')}")
        self._met.add(id(node))
        return node

    def _only(self, node: Node, axes: tuple[int, ...]) -> str:
        if tuple(self._constant(node.inputs[1]).tolist()) != axes:
            raise _refuse(f"{node.outputs[0]} gets another axis than {axes}")
        return node.inputs[0]

    def _constant(self, name: str) -> NDArray[np.generic]:
        if name not in self._nodes.constants:
            raise _refuse(f"{name} is computed, wanted a constant")
        return self._nodes.constants[name]

    def _is(self, name: str, wanted: str) -> None:
        if name != wanted:
            raise _refuse(f"{name} stands where {wanted} is wanted")


def _float(array: NDArray[np.generic]) -> Array:
    if array.dtype != np.float32:
        raise _refuse(f"weights are {array.dtype}, wanted float32")
    return np.ascontiguousarray(array)


def _refuse(found: str) -> SessionError:
    return SessionError(f"the graph is not the step of a WaveNet that is compiled here: {found}")
