"""Routes for text, the list of models as OpenAI's clients read it, and the document of all routes."""

from __future__ import annotations

from starlette.routing import BaseRoute

from gateway.openapi import routes as openapi
from gateway.v1 import chat, completions, models, moderations

routes: list[BaseRoute] = [*chat.routes, *completions.routes, *models.routes, *moderations.routes, *openapi.routes]
