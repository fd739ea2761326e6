"""Routes for text, inference by tensors, the list of models as OpenAI's clients read it, the document of all routes."""

from __future__ import annotations

from starlette.routing import BaseRoute

from gateway.openapi import routes as openapi
from gateway.v1 import chat, completions, models, responses
from gateway.v2 import infer, metadata

routes: list[BaseRoute] = [
    *chat.routes,
    *completions.routes,
    *responses.routes,
    *models.routes,
    *infer.routes,
    *metadata.routes,
    *openapi.routes,
]
