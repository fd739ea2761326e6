"""Reading and rewriting ONNX graphs in memory: constants, attributes, and new nodes in place of the old ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Constants = Mapping[str, NDArray[Any]]  # by tensor name


def constants(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """The initializers of the graph as arrays, by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes that are set on a node, by name; strings are bytes."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def replace_nodes(model: onnx.ModelProto, nodes: Iterable[onnx.NodeProto], added: Constants) -> None:
    """Put `nodes` in place of all nodes of `model`, with the initializers `added`; unread initializers are removed.

    Inferred shapes are dropped. Raises onnx's `ValidationError` or `InferenceError` where the result is no valid model.
    """
    graph = model.graph
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in added.items())
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    del graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
