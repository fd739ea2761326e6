"""Tensors of the Open Inference Protocol as flat lists of values, from and to JSON and raw bytes (little-endian).

BYTES are a length of 4 bytes and that many bytes, for each element. Nothing here knows of models.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from gateway.errors import ApiError
from gateway.v1.asked import shown

BYTES, BOOL = "BYTES", "BOOL"
FLOATS = {"FP32": "f", "FP64": "d"}
INTEGERS = {
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
}
FORMATS = {**INTEGERS, **FLOATS, BOOL: "?"}  # of `struct`
KNOWN = (BYTES, BOOL, *INTEGERS, *FLOATS)
LENGTH = struct.Struct("<I")
MAX_ELEMENTS = 1 << 16  # of one input
MAX_DIMENSIONS = 8
Value = bytes | bool | int | float


def count(shape: Any, place: str) -> int:
    """How many elements a shape has. Raises `ApiError` for what is no shape, for none and for too many of them."""
    sizes = isinstance(shape, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in shape)
    if not sizes or not 1 <= len(shape) <= MAX_DIMENSIONS or any(one < 1 for one in shape):
        raise ApiError(400, f"{place} has the shape {shown(shape)}, wanted a list of sizes from 1, such as [1]")
    found: int = math.prod(shape)
    if found > MAX_ELEMENTS:
        raise ApiError(400, f"{place} has {found} elements, wanted at most {MAX_ELEMENTS}")
    return found


def from_raw(data: memoryview, datatype: str, elements: int, place: str) -> list[Value]:
    """The values in raw bytes. Raises `ApiError` where these are not as many as the shape says."""
    if datatype == BYTES:
        return _texts(data, elements, place)
    each = struct.calcsize(f"<{FORMATS[datatype]}")
    if len(data) != each * elements:
        told = f"{elements} elements of {datatype} are {each * elements}"
        raise ApiError(400, f"{place} has {len(data)} bytes of data; {told}")
    if datatype == BOOL and data.tobytes().strip(b"\0\1"):
        raise ApiError(400, f"{place} has bytes that are neither 0 nor 1, which is what BOOL is made of")
    found = list(struct.unpack(f"<{elements}{FORMATS[datatype]}", data))
    return [_finite(value, datatype, place) for value in found] if datatype in FLOATS else found


def _texts(data: memoryview, elements: int, place: str) -> list[Value]:
    found: list[Value] = []
    at = 0
    while at < len(data) and len(found) < elements:
        if at + LENGTH.size > len(data):
            break
        end = at + LENGTH.size + LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            raise ApiError(400, f"{place}[{len(found)}] says a length that is beyond the {len(data)} bytes of its data")
        found.append(data[at + LENGTH.size : end].tobytes())
        at = end
    if len(found) != elements or at != len(data):
        told = "each a length of 4 bytes and its bytes"
        raise ApiError(400, f"{place} has {len(data)} bytes of data, which are not {elements} elements: {told}")
    return found


def from_json(data: Any, datatype: str, elements: int, place: str) -> list[Value]:
    """The values of `data`, nested or flat. Raises `ApiError`."""
    flat = _flat(data, elements, place)
    if len(flat) != elements:
        raise ApiError(400, f"{place} has {len(flat)} values in data; its shape has {elements}")
    return [_value(value, datatype, f"{place}[{at}]") for at, value in enumerate(flat)]


def _flat(data: Any, elements: int, place: str) -> list[Any]:
    level = data if isinstance(data, list) else [data]
    while any(isinstance(item, list) for item in level):
        level = [inner for item in level for inner in (item if isinstance(item, list) else [item])]
        if len(level) > elements:
            raise ApiError(400, f"{place} has more than the {elements} values of its shape in data")
    return level


def _value(value: Any, datatype: str, place: str) -> Value:
    if datatype == BYTES and isinstance(value, str):
        return value.encode()
    if datatype == BOOL and isinstance(value, bool):
        return value
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if datatype in FLOATS and number:
        return _finite(value, datatype, place)
    if datatype in INTEGERS and number and value == int(value):
        return _held(int(value), datatype, place)
    raise ApiError(400, f"{place} is {shown(value)}, wanted {'a string' if datatype == BYTES else datatype}")


def _held(value: int, datatype: str, place: str) -> int:
    try:
        struct.pack(f"<{INTEGERS[datatype]}", value)
    except struct.error:
        raise ApiError(400, f"{place} is {shown(value)}, which is no {datatype}") from None
    return value


def _finite(value: float, datatype: str, place: str) -> float:
    """The number; of FP32 the shortest one that it can be: 0.7 as FP32 is 0.7 and not 0.699999988079071."""
    try:
        raw = struct.pack(f"<{FLOATS[datatype]}", value)
    except (OverflowError, struct.error):
        raise ApiError(400, f"{place} is {shown(value)}, which is no {datatype}") from None
    if not math.isfinite(value):
        raise ApiError(400, f"{place} holds {value}, which is no number")
    if datatype != "FP32":
        return float(value)
    shortest = (float(f"{value:.{digits}g}") for digits in range(6, 10))
    return next((one for one in shortest if _fits(one, raw)), value)


def _fits(value: float, raw: bytes) -> bool:
    try:
        return struct.pack("<f", value) == raw
    except OverflowError:
        return False


def to_raw(values: Sequence[Value] | bytes, datatype: str) -> bytes:
    """Values as raw bytes; those of a tensor that is bytes already are as they are."""
    if isinstance(values, bytes):
        return values
    if datatype == BYTES:
        return b"".join(LENGTH.pack(len(value)) + value for value in values if isinstance(value, bytes))
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


def to_json(values: Sequence[Value] | bytes, datatype: str, name: str) -> list[Any]:
    """Values as JSON has them. Raises `ApiError` for bytes that are no text."""
    if isinstance(values, bytes):
        each = struct.calcsize(f"<{FORMATS[datatype]}")
        return list(struct.unpack(f"<{len(values) // each}{FORMATS[datatype]}", values))
    if datatype != BYTES:
        return list(values)
    try:
        return [value.decode() for value in values if isinstance(value, bytes)]
    except UnicodeDecodeError:
        raise ApiError(400, f"output {name} is no text: ask for it with binary_data true") from None
