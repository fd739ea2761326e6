"""What the Open Inference Protocol asks of a server and of its models: what they are, and whether they are there."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from gateway.described import Described, Spec
from gateway.errors import ApiError
from gateway.health import not_ready
from gateway.v2.outputs import OUTPUTS
from gateway.v2.params import DATATYPES, taken

PREFIX = "/v2"
MODEL = "/v2/models/{name}"
VERSION = "/v2/models/{name}/versions/{version}"


async def server(request: Request) -> JSONResponse:
    """`GET /v2`."""
    return JSONResponse({"name": "atelier", "version": "1", "extensions": ["binary_tensor_data", "parameters"]})


async def live(request: Request) -> JSONResponse:
    """`GET /v2/health/live`."""
    return JSONResponse({"live": True})


async def ready(request: Request) -> JSONResponse:
    """`GET /v2/health/ready`: 200 while requests would be served, else 503, as `/readyz`."""
    reason = not_ready(request.app.state)
    if reason is not None:
        return JSONResponse({"ready": False, "error": reason}, 503)
    return JSONResponse({"ready": True})


async def of_version(request: Request) -> Described:
    """The model that a path names. Raises `ApiError` (404), also for another version than the one that is served."""
    model: Described = await request.app.state.models.get(request.path_params["name"])
    version = request.path_params.get("version", model.version)
    if version != model.version:
        raise ApiError(404, f"model {model.name} has no version {version[:60]!r}; it has {model.version}")
    return model


async def model(request: Request) -> JSONResponse:
    """`GET /v2/models/NAME`: its inputs and outputs. No input is needed but those that its doc says."""
    found = await of_version(request)
    return JSONResponse(
        {
            "name": found.name,
            "versions": [found.version],
            "platform": f"atelier_{found.kind}",
            "inputs": [_input(spec) for spec in taken(found).values()],
            "outputs": [
                {"name": one.name, "datatype": one.datatype, "shape": list(one.shape), "parameters": {"doc": one.doc}}
                for one in OUTPUTS[found.medium]
            ],
        }
    )


async def model_ready(request: Request) -> JSONResponse:
    """`GET /v2/models/NAME/ready`."""
    found = await of_version(request)
    well = bool(request.app.state.models.health.get(found.name)) and not request.app.state.in_hand.draining
    return JSONResponse({"name": found.name, "ready": well}, 200 if well else 503)


def _input(spec: Spec) -> dict[str, Any]:
    said = {"doc": spec.doc, "optional": True, "default": spec.default, "minimum": spec.minimum}
    said |= {"maximum": spec.maximum, "choices": list(spec.choices) if spec.choices else None}
    parameters = {name: value for name, value in said.items() if value is not None}
    return {"name": spec.name, "datatype": DATATYPES[spec.type][0], "shape": [-1], "parameters": parameters}


routes: list[BaseRoute] = [
    Route(PREFIX, server, methods=["GET"]),
    Route("/v2/health/live", live, methods=["GET"]),
    Route("/v2/health/ready", ready, methods=["GET"]),
    Route(MODEL, model, methods=["GET"]),
    Route(VERSION, model, methods=["GET"]),
    Route(f"{MODEL}/ready", model_ready, methods=["GET"]),
    Route(f"{VERSION}/ready", model_ready, methods=["GET"]),
]
