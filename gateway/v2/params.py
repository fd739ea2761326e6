"""Tensors as a model's own parameters: one request, or one for each element of those that have several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.bodies import parse
from gateway.described import Described, Spec
from gateway.errors import ApiError
from gateway.native.orders import upload_limits
from gateway.spool import Kept
from gateway.v2.asked import Asked, Tensor
from gateway.v2.datatypes import BOOL, BYTES, FLOATS, INTEGERS, Value

MAX_BATCH = 32  # requests to the model of one request for inference
# By the type of a parameter: the datatype that it is described with, and all that are taken.
DATATYPES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "integer": ("INT64", tuple(INTEGERS)),
    "number": ("FP32", (*FLOATS, *INTEGERS)),
    "boolean": (BOOL, (BOOL,)),
    "string": (BYTES, (BYTES,)),
    "strings": (BYTES, (BYTES,)),
    "messages": (BYTES, (BYTES,)),
    "image": (BYTES, (BYTES,)),
}
WHOLE = ("stream",)  # parameters that have no place here: an answer is whole


def taken(model: Described) -> dict[str, Spec]:
    """The parameters that a tensor, or an entry of `parameters`, may stand for."""
    return {name: spec for name, spec in model.params.items() if name not in WHOLE and spec.type in DATATYPES}


async def batch(asked: Asked, model: Described, kept: Kept) -> list[dict[str, Any]]:
    """Parameters of each request. A tensor of one element holds for all of them; images go to the spool.

    Raises `ApiError`.
    """
    known = taken(model)
    for name in (*asked.inputs, *asked.parameters):
        if name not in known:
            raise ApiError(400, f"model {model.name} knows no {name[:60]!r}; it knows {', '.join(known)}")
    for name in asked.parameters:
        if name in asked.inputs:
            raise ApiError(400, f"{name} is a tensor and in parameters; send one of them")
        if known[name].type == "image":
            raise ApiError(400, f"{name} is an image: send its file as a tensor of BYTES")
    columns = {name: await _column(tensor, known[name], model, kept) for name, tensor in asked.inputs.items()}
    columns |= {name: [value] for name, value in asked.parameters.items()}
    sizes = {len(column) for column in columns.values()} - {1}
    if len(sizes) > 1:
        told = ", ".join(f"{name} {len(column)}" for name, column in columns.items() if len(column) > 1)
        raise ApiError(400, f"tensors have different numbers of elements ({told}); send 1 or the same number")
    rows = next(iter(sizes), 1)
    if rows > MAX_BATCH:
        raise ApiError(400, f"tensors have {rows} elements, wanted at most {MAX_BATCH}")
    return [{name: column[at if len(column) > 1 else 0] for name, column in columns.items()} for at in range(rows)]


async def _column(tensor: Tensor, spec: Spec, model: Described, kept: Kept) -> list[Any]:
    """The values of a tensor, one for each request."""
    usual, fitting = DATATYPES[spec.type]
    if tensor.datatype not in fitting:
        raise ApiError(400, f"input {spec.name} is of the datatype {tensor.datatype}, wanted {usual}")
    if spec.type == "image":
        if len(tensor.values) > MAX_BATCH:
            raise ApiError(400, f"input {spec.name} has {len(tensor.values)} elements, wanted at most {MAX_BATCH}")
        return [await _image(value, spec, model, kept) for value in tensor.values]
    if tensor.datatype != BYTES:
        return tensor.values
    texts = [_text(value, spec) for value in tensor.values]
    if spec.type == "strings":
        return [texts]  # all of them belong to each request
    return [_messages(text, spec) for text in texts] if spec.type == "messages" else texts


async def _image(value: Value, spec: Spec, model: Described, kept: Kept) -> dict[str, Any]:
    assert isinstance(value, bytes)
    most, most_pixels = upload_limits([model])
    arrival = kept.arrival("image", most, most_pixels, spec.name)
    await arrival.write(value)
    return (await arrival.done()).reference()


def _text(value: Value, spec: Spec) -> str:
    assert isinstance(value, bytes)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ApiError(400, f"input {spec.name} is no UTF-8; send texts in UTF-8") from None


def _messages(text: str, spec: Spec) -> Any:
    """Messages stand in an element as the JSON of their list."""
    try:
        return parse(f'{{"it": {text}}}'.encode())["it"]
    except ApiError:
        example = json.dumps([{"role": "user", "content": "Hello"}])
        raise ApiError(400, f"input {spec.name} is no JSON; wanted a list of messages such as {example}") from None
