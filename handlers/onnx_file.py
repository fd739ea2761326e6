"""An ONNX file must hold all of itself: no tensor whose numbers lie in another file, whatever runtime would open it.

The file is walked as protobuf, without a library: this is run wherever a bundle is read. Numbers of fields are those of
onnx.proto.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from mmap import mmap

_GRAPH = 7  # of ModelProto
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14  # of TensorProto
# For each message, the fields that can hold a tensor somewhere below, and their messages.
_BELOW: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_MAX_DEPTH = 64  # of messages in messages


class OnnxError(ValueError):
    """A file that is no ONNX file, or not all of one; the message goes on behind the name of the file."""


def check_onnx(data: bytes | mmap) -> None:
    """Raise `OnnxError` if a tensor of the ONNX file `data` keeps its numbers in another file."""
    if not any(field == _GRAPH for field, _ in fields(memoryview(data))):
        raise OnnxError("is no ONNX file: it has no graph")
    waiting = [("model", memoryview(data), 0)]
    while waiting:
        kind, message, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise OnnxError(f"is no ONNX file to be opened: its graphs lie in one another over {_MAX_DEPTH} deep")
        below = _BELOW[kind]
        for field, value in fields(message):
            if kind == "tensor" and (field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value != 0)):
                raise OnnxError("keeps numbers of a tensor in another file (external data), wanted all of them inside")
            if field in below and isinstance(value, memoryview):
                waiting.append((below[field], value, depth + 1))


def fields(message: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """(number, value) of every field: bytes as a view, a number as it is, one of fixed size as its bytes."""
    at, end = 0, len(message)
    while at < end:
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = _varint(message, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise OnnxError(f"is no ONNX file: a field is written in the way {kind}")
        if at + size > end:
            raise OnnxError(f"is no ONNX file: a field of {size} bytes goes over its end")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise OnnxError("is no ONNX file: a number in it does not end")
