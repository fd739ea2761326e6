"""The history in the document."""

from __future__ import annotations

from gateway.accounts.history import MAX_PAGE
from gateway.history.routes import CONFIRM, USUAL
from gateway.openapi.parts import JSON, Document, answer, in_path, operation, record, reference

TAG = "history"
_STRING, _INTEGER, _OBJECT = {"type": "string"}, {"type": "integer"}, {"type": ["object", "null"]}
_ID = in_path("id", "of a generation of the caller's")


def paths() -> Document:
    """The paths; there is no model in them."""
    page = answer("generations, the newest first; whether there are more", {JSON: reference("History")})
    listed = operation("listHistory", "what the caller had made", page, tag=TAG, parameters=[*_PAGING])
    confirm = {JSON: {"schema": record({"confirm": {"enum": [CONFIRM]}}, ["confirm"], closed=True)}}
    deleted = answer("how many that were", {JSON: record({"deleted": _INTEGER}, ["deleted"])})
    cleared = operation("clearHistory", "delete all of the caller's, with their files", deleted, tag=TAG, body=confirm)
    found = answer("the generation", {JSON: reference("Generation")})
    one = operation("getGeneration", "what makes it again, and what came of it", found, tag=TAG, parameters=[_ID])
    gone = {"204": {"description": "it is gone, with its files"}}
    delete = operation("deleteGeneration", "delete it with its files", gone, tag=TAG, parameters=[_ID])
    file = answer("the file as it was sent", {"*/*": None})
    index = in_path("index", "of the file, from 0") | {"schema": {"type": "integer", "minimum": 0}}
    read = operation("getGenerationFile", "a file, to be saved", file, tag=TAG, parameters=[_ID, index])
    return {
        "/api/history": {"get": listed, "delete": cleared},
        "/api/history/{id}": {"get": one, "delete": delete},
        "/api/history/{id}/files/{index}": {"get": read},
    }


_PAGING = (
    {
        "name": "limit",
        "in": "query",
        "description": "how many",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": USUAL},
    },
    {"name": "after", "in": "query", "description": "the last id of the page before", "schema": _STRING},
)


def components() -> Document:
    """Schemas of the answers."""
    kept = {"index": _INTEGER, "content_type": _STRING, "bytes": _INTEGER, "sha256": _STRING}
    file = record({**kept, "url": {"type": ["string", "null"]}}, [*kept, "url"])
    names = dict.fromkeys(("id", "model", "version", "medium", "route"), _STRING)
    status = {"enum": ["done", "failed", "cancelled"]}
    fields = {**names, "asked": _OBJECT, "receipt": _OBJECT, "created": _INTEGER, "status": status}
    nullable = {"type": ["string", "null"]}
    more = {"job": nullable, "files": {"type": "array", "items": file}, "text": nullable, "trouble": _STRING}
    rows = {"type": "array", "items": reference("Generation")}
    return {
        "Generation": record({**fields, **more}, list(fields)),
        "History": record({"data": rows, "more": {"type": "boolean"}}, ["data", "more"]),
    }
