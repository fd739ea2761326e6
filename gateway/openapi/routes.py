"""`GET /openapi.json` and `/docs`."""

from __future__ import annotations

import asyncio
import json
from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.described import Described
from gateway.openapi.document import document
from gateway.openapi.page import ADDRESS, POLICY, page
from gateway.settings import Settings


class Written:
    """The document and the page of the models that were there last; written anew when they are others."""

    def __init__(self) -> None:
        self._of: tuple[Described, ...] | None = None
        self._found: tuple[bytes, str] = (b"", "")

    async def of(self, models: tuple[Described, ...], settings: Settings) -> tuple[bytes, str]:
        """JSON and HTML."""
        if self._of is None or [id(model) for model in self._of] != [id(model) for model in models]:
            self._found = await asyncio.to_thread(_write, models, settings)
            self._of = models
        return self._found


def _write(models: tuple[Described, ...], settings: Settings) -> tuple[bytes, str]:
    made = document(models, settings)
    return json.dumps(made, ensure_ascii=False).encode(), page(made)


async def _written(request: Request) -> tuple[bytes, str]:
    state = request.app.state
    if not hasattr(state, "written"):
        state.written = Written()
    found: tuple[bytes, str] = await state.written.of(await state.models.all(), state.settings)
    return found


async def openapi(request: Request) -> Response:
    """The document for programs."""
    return Response((await _written(request))[0], media_type="application/json")


async def docs(request: Request) -> Response:
    """The document for people; its examples begin with the address that links to results have."""
    base = (request.app.state.settings.public_url or str(request.base_url)).rstrip("/")
    text = (await _written(request))[1].replace(ADDRESS, escape(base))
    return HTMLResponse(text, headers={"content-security-policy": POLICY})


routes: list[BaseRoute] = [
    Route("/openapi.json", openapi, methods=["GET"]),
    Route("/docs", docs, methods=["GET"]),
]
