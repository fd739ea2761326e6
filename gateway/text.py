"""Routes for text, and the list of models as OpenAI's clients read it."""

from __future__ import annotations

from starlette.routing import BaseRoute

from gateway.v1 import chat, completions, models

routes: list[BaseRoute] = [*chat.routes, *completions.routes, *models.routes]
