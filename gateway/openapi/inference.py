"""The Open Inference Protocol in the document: its requests are of one shape, whatever the model."""

from __future__ import annotations

from gateway.openapi.parts import JSON, Document, answer, in_path, operation, record, reference
from gateway.v2.asked import MAX_NAME, MAX_TENSORS
from gateway.v2.datatypes import KNOWN, MAX_DIMENSIONS

TAG = "inference by tensors"
RAW = "application/octet-stream"
_STRING = {"type": "string"}
_NAME = in_path("name", "a model's name, or an alias")
_VERSION = in_path("version", "the one that is served, which GET /v2/models/NAME says")
_TENSOR = {
    "name": _STRING,
    "datatype": {"enum": list(KNOWN)},
    "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": MAX_DIMENSIONS},
}


def paths() -> Document:
    """The paths; those of a model are there with its version, too."""
    found: Document = {
        "/v2": {"get": operation("inferServer", "what the server is", _json("its name", "InferServer"), tag=TAG)},
        "/v2/health/live": _health("inferLive", "whether the process answers", "live"),
        "/v2/health/ready": _health("inferReady", "whether requests would be served; else 503", "ready"),
    }
    for path, end, parameters in (
        ("/v2/models/{name}", "", [_NAME]),
        ("/v2/models/{name}/versions/{version}", "OfVersion", [_NAME, _VERSION]),
    ):
        told = _json("its tensors", "InferModel")
        about = operation(f"inferModel{end}", "a model's inputs and outputs", told, tag=TAG, parameters=parameters)
        well = _json("it takes requests", "InferReady")
        ready = operation(
            f"inferModelReady{end}", "whether a model takes requests; else 503", well, tag=TAG, parameters=parameters
        )
        found |= {path: {"get": about}, f"{path}/ready": {"get": ready}}
        found[f"{path}/infer"] = {"post": _infer(f"infer{end}", parameters)}
    for methods in found.values():
        for method in methods.values():
            method["responses"]["default"] = {"$ref": "#/components/responses/inferError"}
    return found


def _infer(name: str, parameters: list[Document]) -> Document:
    body = {JSON: {"schema": _request()}, RAW: {"schema": {"title": "JSON, and behind it raw tensors"}}}
    told = "JSON, or JSON and raw bytes, whose border Inference-Header-Content-Length tells"
    answers = answer(told, {JSON: reference("InferAnswer"), RAW: None})
    return operation(name, "a model's answer as tensors", answers, tag=TAG, body=body, parameters=parameters)


def _request() -> Document:
    parameters = {"type": "object"}
    given = record({**_TENSOR, "parameters": parameters, "data": {"type": "array"}}, list(_TENSOR), closed=True)
    wanted = record({"name": _STRING, "parameters": parameters}, ["name"], closed=True)
    asked = {
        "id": {"type": "string", "maxLength": MAX_NAME},
        "inputs": {"type": "array", "maxItems": MAX_TENSORS, "items": given},
        "outputs": {"type": "array", "maxItems": MAX_TENSORS, "items": wanted},
        "parameters": {"type": "object", "description": "parameters of the model; timeout in microseconds"},
    }
    return record(asked, closed=True)


def _health(name: str, summary: str, field: str) -> Document:
    schema = record({field: {"type": "boolean"}}, [field])
    return {"get": operation(name, summary, answer(summary, {JSON: {**schema}}), tag=TAG, public=True)}


def _json(description: str, name: str) -> Document:
    return answer(description, {JSON: reference(name)})


def components() -> Document:
    """Schemas of the answers."""
    said = record({**_TENSOR, "parameters": {"type": "object"}}, list(_TENSOR))
    tensors = {"type": "array", "items": said}
    model = {
        "name": _STRING,
        "versions": {"type": "array", "items": _STRING},
        "platform": _STRING,
        "inputs": tensors,
        "outputs": tensors,
    }
    answered = {"model_name": _STRING, "model_version": _STRING, "outputs": tensors}
    server = {"name": _STRING, "version": _STRING, "extensions": {"type": "array", "items": _STRING}}
    return {
        "InferError": record({"error": _STRING}, ["error"]),
        "InferServer": record(server, list(server)),
        "InferReady": record({"name": _STRING, "ready": {"type": "boolean"}}, ["name", "ready"]),
        "InferModel": record(model, list(model)),
        "InferAnswer": record({**answered, "id": _STRING}, list(answered)),
    }


def responses() -> Document:
    """What errors are in this protocol."""
    content = {JSON: {"schema": reference("InferError")}}
    return {"inferError": {"description": "what was found, what is wanted", "content": content}}
