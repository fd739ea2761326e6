"""`GET /v1/models` and `/v1/models/ID`: every model and alias, and what each can."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from gateway.described import Described
from gateway.errors import overloaded
from gateway.native.models import routes_of

LOADING_SECONDS = 2.0  # after which to ask again


async def listed(request: Request) -> JSONResponse:
    """Models by name, then the operator's aliases of those that are there."""
    models = request.app.state.models
    known = {model.name: model for model in await models.all()}
    if not known and not models.problems:
        raise overloaded("no model answers yet, they are being loaded: ask again", LOADING_SECONDS)
    entries = [entry(model, model.name) for model in known.values()]
    entries += [entry(known[name], alias) for alias, name in sorted(models.aliases.items()) if name in known]
    return JSONResponse({"object": "list", "data": entries})


async def one(request: Request) -> JSONResponse:
    """One of them, by name or alias."""
    asked = request.path_params["name"]
    return JSONResponse(entry(await request.app.state.models.get(asked), asked))


def entry(model: Described, called: str) -> dict[str, Any]:
    """A model in OpenAI's shape; beside it what it is and where it is asked."""
    alias = {"alias_of": model.name} if called != model.name else {}
    return {
        "id": called,
        "object": "model",
        "created": _created(model),
        "owned_by": "atelier",
        **alias,
        "medium": model.medium,
        "kind": model.kind,
        "version": model.version,
        "routes": routes_of(model),
        "params": list(model.params),
        "content_types": list(model.content_types),
    }


def _created(model: Described) -> int:
    """When it was certified, in seconds since the epoch; 0 where its document does not say."""
    date = model.certificate.get("date")
    try:
        return int(datetime.fromisoformat(date).timestamp()) if isinstance(date, str) else 0
    except ValueError:
        return 0


routes: list[BaseRoute] = [
    Route("/v1/models", listed, methods=["GET"]),
    Route("/v1/models/{name:path}", one, methods=["GET"]),
]
