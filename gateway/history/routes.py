"""`/api/history`: what a caller had made, newest first; each with what makes it again, its files, and its deletion."""

from __future__ import annotations

import re
from typing import Any

from starlette.endpoints import HTTPEndpoint
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.accounts.history import MAX_PAGE
from gateway.bodies import read_json
from gateway.errors import ApiError

CONFIRM = "delete everything"
USUAL = 20  # generations of a page
_MAX_BODY = 1024
_NUMBER = re.compile(r"[0-9]{1,9}")


class Mine(HTTPEndpoint):
    """`/api/history`: all of a caller's."""

    async def get(self, request: Request) -> Response:
        """A page of it, the newest first; `after` is the id of the last one before it."""
        asked = request.query_params
        limit = _number(asked.get("limit", str(USUAL)), "limit")
        if not 1 <= limit <= MAX_PAGE:
            raise ApiError(400, f"limit is {limit}, wanted 1 to {MAX_PAGE}", param="limit")
        page = await request.app.state.shelf.page(request.state.caller.owner, limit, asked.get("after"))
        return JSONResponse({"data": [document(row) for row in page.rows], "more": page.more})

    async def delete(self, request: Request) -> Response:
        """Delete all of it, where the body says so."""
        body = await read_json(request, _MAX_BODY)
        if body != {"confirm": CONFIRM}:
            raise ApiError(400, f'to delete the whole history send {{"confirm": "{CONFIRM}"}}', param="confirm")
        return JSONResponse({"deleted": await request.app.state.shelf.clear(request.state.caller.owner)})


class One(HTTPEndpoint):
    """`/api/history/ID`: one generation."""

    async def get(self, request: Request) -> Response:
        """All that is kept of it."""
        row = await request.app.state.shelf.one(request.state.caller.owner, request.path_params["id"])
        return JSONResponse(document(row))

    async def delete(self, request: Request) -> Response:
        """Delete it with its files."""
        await request.app.state.shelf.delete(request.state.caller.owner, request.path_params["id"])
        return Response(status_code=204)


async def file(request: Request) -> Response:
    """A file as it was sent, to be saved: it is never shown as a page of ours."""
    index = _number(request.path_params["index"], "index")
    found = await request.app.state.shelf.file(request.state.caller.owner, request.path_params["id"], index)
    return Response(found.content, 200, {"content-disposition": "attachment"}, found.content_type)


def document(row: dict[str, Any]) -> dict[str, Any]:
    """A generation as its owner is told."""
    files = [
        {
            "index": file["index"],
            "content_type": file["content_type"],
            "bytes": file["bytes"],
            "sha256": file["sha256"],
            "url": None if file["result"] is None else f"/api/history/{row['id']}/files/{file['index']}",
        }
        for file in row["files"]
    ]
    names = ("id", "model", "version", "medium", "route", "job", "asked", "receipt", "status")
    made = {"text": row["text"]} if row["medium"] == "text" else {"files": files}
    told = {"trouble": row["trouble"]} if row["trouble"] is not None else {}
    return {**{name: row[name] for name in names}, "created": int(row["created"]), **made, **told}


def _number(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ApiError(400, f"{name} is {text[:60]!r}, wanted a whole number", param=name)
    return int(text)


routes: list[BaseRoute] = [
    Route("/api/history", Mine),
    Route("/api/history/{id}", One),
    Route("/api/history/{id}/files/{index}", file, methods=["GET"]),
]
