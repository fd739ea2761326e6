"""What is served: every model in short, and one with its parameters, certificate, licence and an example."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from gateway.described import Described
from gateway.errors import ApiError


async def listed(request: Request) -> JSONResponse:
    """`GET /api/models`."""
    state = request.app.state
    aliases: dict[str, list[str]] = {}
    for alias, name in sorted(state.models.aliases.items()):
        aliases.setdefault(name, []).append(alias)
    models = [short(model) | {"aliases": aliases.get(model.name, [])} for model in await state.models.all()]
    return JSONResponse({"models": models, "not_readable": dict(state.models.problems)})


async def one(request: Request) -> JSONResponse:
    """`GET /api/models/NAME`: the describe document, and what the gateway adds to it."""
    model: Described = await request.app.state.models.get(request.path_params["name"])
    licence = {
        "data": model.source.get("data_licence"),
        "data_name": model.source.get("data_name"),
        "data_source": model.source.get("data_source"),
    }
    added = {"medium": model.medium, "licence": licence, "routes": routes_of(model)}
    return JSONResponse({**model.document, **added})


def short(model: Described) -> dict[str, Any]:
    """A model in a list."""
    return {
        "name": model.name,
        "version": model.version,
        "kind": model.kind,
        "medium": model.medium,
        "content_types": list(model.content_types),
        "params": list(model.params),
        "routes": routes_of(model),
    }


def routes_of(model: Described) -> list[str]:
    """The paths that reach it."""
    own = [f"/api/generate/{model.name}", f"/api/jobs/{model.name}"]
    if model.medium == "image":
        takes_image = image_param(model) is not None
        return [*own, *(("/v1/images/edits", "/v1/images/variations") if takes_image else ("/v1/images/generations",))]
    if model.medium == "audio":
        return [*own, "/v1/audio/speech"]
    return [*own, "/v1/chat/completions" if model.has("messages") else "/v1/completions", "/v1/responses"]


def image_param(model: Described) -> str | None:
    """The name of the parameter that takes an image: `image` where there is one of that name, else the first."""
    names = [spec.name for spec in model.params.values() if spec.type == "image" and spec.name != "mask"]
    return "image" if "image" in names else next(iter(names), None)


def needs_image(model: Described) -> ApiError:
    """What is told whoever sent no image to a model that changes one."""
    message = f"model {model.name} changes an image: send a form (multipart/form-data) with a file in"
    return ApiError(400, f"{message} {image_param(model)}", param=image_param(model))


routes: list[BaseRoute] = [
    Route("/api/models", listed, methods=["GET"]),
    Route("/api/models/{name}", one, methods=["GET"]),
]
