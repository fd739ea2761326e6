"""`GET /v1/results/NAME`: an image that was asked for as a link. Whoever knows the name may have it, without a key."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.errors import ApiError
from gateway.work import receipt_header

PREFIX = "/v1/results/"


async def result(request: Request) -> Response:
    """The file, for as long as it is kept. Pages of others may show it: its name is the secret."""
    token, _, kind = request.path_params["name"].partition(".")
    results = request.app.state.results
    found = results.find(token)
    data = await results.read(found) if found is not None and found.content_type == f"image/{kind}" else None
    if data is None:
        raise ApiError(404, "there is no such result: it never was, or was kept long enough; ask for it again")
    headers = {"cross-origin-resource-policy": "cross-origin", **receipt_header(found.receipt)}
    return Response(data, 200, headers, found.content_type)


routes: list[BaseRoute] = [Route(f"{PREFIX}{{name}}", result, methods=["GET"])]
