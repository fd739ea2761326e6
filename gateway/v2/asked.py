"""A request for inference, read: JSON, and behind it the raw bytes of the tensors that say so."""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from gateway.bodies import JSON, parse, read_bytes
from gateway.errors import ApiError
from gateway.v1.asked import shown
from gateway.v2.datatypes import KNOWN, Value, count, from_json, from_raw

LENGTH = "inference-header-content-length"
TYPES = ("", JSON, "application/octet-stream")  # Triton's client sends none
INLINE = 64 << 10  # bytes of a request that are read at once; more of them in a thread
MAX_TENSORS = 64  # of one request
MAX_NAME = 512  # characters of an id
_FIELDS = ("id", "inputs", "outputs", "parameters")
_INPUT = ("name", "shape", "datatype", "data", "parameters")
_SIZE = "binary_data_size"


@dataclasses.dataclass(frozen=True)
class Tensor:
    """An input: its values, flat."""

    datatype: str
    values: list[Value]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """An output that is asked for; `binary`: as raw bytes behind the JSON."""

    name: str
    binary: bool


@dataclasses.dataclass(frozen=True)
class Asked:
    """All of a request. `outputs` None: those that are usual."""

    id: str | None
    inputs: Mapping[str, Tensor]
    outputs: tuple[Wanted, ...] | None
    parameters: Mapping[str, Any]
    binary: bool  # whether outputs that do not say otherwise are raw
    seconds: float | None  # that it may take


async def read(request: Request, most: int) -> Asked:
    """The request, of at most `most` bytes. Raises `ApiError` for every size that is not what it says."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in TYPES:
        raise ApiError(415, f"Content-Type is {kind[:60]}, wanted {JSON}, application/octet-stream or none")
    body = await read_bytes(request, most)
    length = _length(request.headers.get(LENGTH), len(body))
    if len(body) > INLINE:
        return await asyncio.to_thread(_read, body, length)
    return _read(body, length)


def _read(body: bytes, length: int) -> Asked:
    return _asked(parse(body[:length]), memoryview(body)[length:])


def _length(said: str | None, found: int) -> int:
    """Bytes of the JSON, by the header where there is one."""
    if said is None:
        return found
    if not re.fullmatch(r"[0-9]{1,10}", said, re.ASCII) or not 0 < int(said) <= found:
        raise ApiError(400, f"Inference-Header-Content-Length is {said[:20]!r}, the body has {found} bytes")
    return int(said)


def _asked(document: Mapping[str, Any], raw: memoryview) -> Asked:
    for name in document:
        if name not in _FIELDS:
            raise ApiError(400, f"{name[:60]} is unknown; known are {', '.join(_FIELDS)}")
    given = document.get("id")
    if given is not None and (not isinstance(given, str) or len(given) > MAX_NAME):
        raise ApiError(400, f"id is {shown(given)}, wanted a string of at most {MAX_NAME} characters")
    parameters = dict(_object(document.get("parameters"), "parameters"))
    binary = _flag(parameters.pop("binary_data_output", False), "binary_data_output")
    seconds = _seconds(parameters.pop("timeout", None))
    _refuse_order(parameters)
    outputs = document.get("outputs")
    return Asked(
        id=given,
        inputs=_inputs(_objects(document.get("inputs"), "inputs"), raw),
        outputs=tuple(_wanted(one, binary) for one in _objects(outputs, "outputs")) if outputs else None,
        parameters=parameters,
        binary=binary,
        seconds=seconds,
    )


def _inputs(items: list[Mapping[str, Any]], raw: memoryview) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    at = 0
    for number, item in enumerate(items):
        name = item.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError(400, f"inputs[{number}] has no name")
        place = f"input {name[:60]}"
        if name in found:
            raise ApiError(400, f"{place} is there twice; send each once")
        for key in item:
            if key not in _INPUT:
                raise ApiError(400, f"{place} has {key[:60]}, known are {', '.join(_INPUT)}")
        datatype = item.get("datatype")
        if datatype not in KNOWN:
            raise ApiError(400, f"{place} is of the datatype {shown(datatype)}, wanted one of {', '.join(KNOWN)}")
        elements = count(item.get("shape"), place)
        size = _size(_object(item.get("parameters"), f"parameters of {place}"), place)
        if size is None:
            if "data" not in item:
                raise ApiError(400, f"{place} has neither data nor {_SIZE}")
            values = from_json(item["data"], datatype, elements, place)
        else:
            if "data" in item:
                raise ApiError(400, f"{place} has data and {_SIZE}; send one of them")
            if at + size > len(raw):
                raise ApiError(400, f"{place} has a {_SIZE} of {size}, but {len(raw) - at} bytes are left of the body")
            values = from_raw(raw[at : at + size], datatype, elements, place)
            at += size
        found[name] = Tensor(datatype, values)
    if at != len(raw):
        raise ApiError(400, f"{len(raw) - at} bytes at the end of the body belong to no input")
    return found


def _size(parameters: Mapping[str, Any], place: str) -> int | None:
    for name in parameters:
        if name != _SIZE:
            raise ApiError(400, f"{place} has the parameter {name[:60]}, which is not taken: no memory is shared here")
    size = parameters.get(_SIZE)
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise ApiError(400, f"{place} has a {_SIZE} of {shown(size)}, wanted a number of bytes")
    return size


def _wanted(item: Mapping[str, Any], binary: bool) -> Wanted:
    name = item.get("name")
    if not isinstance(name, str):
        raise ApiError(400, "an output has no name")
    parameters = dict(_object(item.get("parameters"), f"parameters of output {name[:60]}"))
    raw = _flag(parameters.pop("binary_data", binary), "binary_data")
    if parameters.get("classification") in (None, 0):
        parameters.pop("classification", None)
    for other in (*parameters, *(key for key in item if key not in ("name", "parameters"))):
        raise ApiError(400, f"output {name[:60]} has {other[:60]}, which is not taken: known is binary_data")
    return Wanted(name, raw)


def _refuse_order(parameters: dict[str, Any]) -> None:
    """Take off what changes nothing of the words for sequences and priorities, and refuse the rest of them."""
    neutral = {"priority": (0,), "sequence_id": (0, ""), "sequence_start": (False,), "sequence_end": (False,)}
    for name, values in neutral.items():
        value = parameters.pop(name, values[0])
        if value not in values:
            raise ApiError(400, f"{name} is {shown(value)}: requests here have no order; leave it out")


def _seconds(timeout: Any) -> float | None:
    if timeout is None or timeout == 0:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int) or timeout < 0:
        raise ApiError(400, f"timeout is {shown(timeout)}, wanted a number of microseconds")
    return min(timeout / 1e6, 86_400.0)


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ApiError(400, f"{name} is {shown(value)}, wanted true or false")
    return value


def _object(value: Any, name: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ApiError(400, f"{name} is {shown(value)}, wanted an object")
    return value


def _objects(value: Any, name: str) -> list[Mapping[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > MAX_TENSORS or not all(isinstance(one, dict) for one in value):
        raise ApiError(400, f"{name} is {shown(value)}, wanted a list of at most {MAX_TENSORS} objects")
    return value
