"""`POST /api/provenance/verify`, and the same as OpenAI's clients ask it: `POST /v1/content_provenance_checks`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.arrival import Spooled
from gateway.departure import unless_gone
from gateway.errors import ApiError
from gateway.forms import FileLimits, read_form
from gateway.provenance.manifest import GENERATOR

MAX_BYTES = 32 << 20  # of a file
FIELD = "file"
_STATES = {"trusted": "trusted", "valid": "valid", "invalid": "invalid"}


async def verify(request: Request) -> Response:
    """What a file says of where it comes from, and what is known of it here."""
    return JSONResponse(await _checked(request))


async def content_provenance_checks(request: Request) -> Response:
    """The same in OpenAI's words; `atelier` has all of it."""
    found = await _checked(request)
    return JSONResponse(in_their_words(found, int(time.time())))


def in_their_words(found: Mapping[str, Any], now: int) -> dict[str, Any]:
    """A `content_provenance_check`: what C2PA says of the file, as detected where a model of ours made it."""
    c2pa = found["c2pa"]
    state = _STATES.get(c2pa["state"], "not_present")
    ours = state in ("trusted", "valid") and c2pa.get("claim_generator") == GENERATOR
    made = (c2pa.get("made") or {}).get("receipt") or {}
    result = {
        "type": "c2pa",
        "outcome": "detected" if ours else "not_detected",
        "validation_state": state,
        "issuer": c2pa.get("issuer"),
        "generated_at": c2pa.get("generated_at"),
        "model": made.get("model") if isinstance(made, dict) else None,
    }
    return {"object": "content_provenance_check", "created_at": now, "results": [result], "atelier": dict(found)}


async def _checked(request: Request) -> dict[str, Any]:
    file = await _file(request)
    found: dict[str, Any] = await unless_gone(request, request.app.state.checks.check(request.state.caller, file))
    return found


async def _file(request: Request) -> Spooled:
    """The file: of a form, or the body as it is. Raises `ApiError`."""
    kept = request.state.kept
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        form = await read_form(request, kept, FileLimits((FIELD,), MAX_BYTES, max_files=1, kind="any"))
        if form.fields or len(form.files.get(FIELD, [])) != 1:
            other = ", ".join(sorted(form.fields)) or "no file"
            raise ApiError(400, f"the form has {other[:60]}, wanted one file in the field {FIELD}", param=FIELD)
        return form.files[FIELD][0]
    file: Spooled = await kept.save(request.stream(), MAX_BYTES, "any", what=FIELD)
    return file


routes: list[BaseRoute] = [
    Route("/api/provenance/verify", verify, methods=["POST"]),
    Route("/v1/content_provenance_checks", content_provenance_checks, methods=["POST"]),
]
