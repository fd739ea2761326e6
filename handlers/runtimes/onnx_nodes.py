"""Nodes and constants of an ONNX file, for a runtime that looks at what it computes. Field numbers: onnx.proto."""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.onnx_file import OnnxError, fields

Attribute = int | float | tuple[int, ...]
_TYPES: dict[int, Any] = {1: np.dtype("<f4"), 7: np.dtype("<i8")}  # of TensorProto


@dataclasses.dataclass(frozen=True)
class Node:
    """One operator."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute]


@dataclasses.dataclass(frozen=True)
class Nodes:
    """A graph."""

    by_output: Mapping[str, Node]
    constants: Mapping[str, NDArray[np.generic]]
    count: int


def read_nodes(data: bytes) -> Nodes:
    """The graph of an ONNX file. Raises `OnnxError` for constants of other types than float32 and int64."""
    graphs = [value for number, value in fields(memoryview(data)) if number == 7]
    if len(graphs) != 1 or not isinstance(graphs[0], memoryview):
        raise OnnxError(f"is no ONNX file: it has {len(graphs)} graphs, wanted one")
    parts = list(fields(graphs[0]))
    nodes = [_node(value) for number, value in parts if number == 1 and isinstance(value, memoryview)]
    tensors = [_tensor(value) for number, value in parts if number == 5 and isinstance(value, memoryview)]
    by_output = {name: node for node in nodes for name in node.outputs}
    return Nodes(by_output, dict(tensors), len(nodes))


def _node(message: memoryview) -> Node:
    texts: dict[int, list[str]] = {1: [], 2: [], 4: []}
    attributes: dict[str, Attribute] = {}
    for number, value in fields(message):
        if number in texts:
            texts[number].append(_text(value))
        elif number == 5 and isinstance(value, memoryview):
            name, found = _attribute(value)
            if found is not None:
                attributes[name] = found
    return Node("".join(texts[4]), tuple(texts[1]), tuple(texts[2]), attributes)


def _attribute(message: memoryview) -> tuple[str, Attribute | None]:
    """Name and value; None for a value that is neither a number nor a list of integers."""
    name, found, many = "", None, list[int]()
    for number, value in fields(message):
        if number == 1:
            name = _text(value)
        elif number == 2 and isinstance(value, memoryview):
            found = struct.unpack("<f", value)[0]
        elif number == 3 and isinstance(value, int):
            found = _signed(value)
        elif number == 8:
            many += _integers(value)
    return name, tuple(many) or found


def _tensor(message: memoryview) -> tuple[str, NDArray[np.generic]]:
    shape: list[int] = []
    kind, name, raw = 0, "", None
    for number, value in fields(message):
        if number == 1:
            shape += _integers(value)
        elif number == 2 and isinstance(value, int):
            kind = value
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = value
    if kind not in _TYPES or not isinstance(raw, memoryview):
        raise OnnxError(f"has a constant {name} of element type {kind}, wanted float32 or int64, as bytes")
    try:
        return name, np.frombuffer(raw, _TYPES[kind]).reshape(shape)
    except ValueError:
        raise OnnxError(f"has a constant {name} of {len(raw)} bytes, which is not {shape}") from None


def _text(value: memoryview | int) -> str:
    return bytes(value).decode("utf-8", "replace") if isinstance(value, memoryview) else ""


def _integers(value: memoryview | int) -> Iterator[int]:
    """One integer, or several that are packed into bytes."""
    if isinstance(value, int):
        yield _signed(value)
        return
    at = 0
    while at < len(value):
        end = at
        while end < len(value) and value[end] & 0x80:
            end += 1
        yield _signed(sum((byte & 0x7F) << 7 * place for place, byte in enumerate(value[at : end + 1])) % 2**64)
        at = end + 1


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
