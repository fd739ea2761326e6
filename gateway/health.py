"""`/healthz`: the process answers. `/readyz`: requests would be served. `/metrics`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gateway.metrics import CONTENT_TYPE


async def healthz(request: Request) -> Response:
    """200 while the event loop runs."""
    return JSONResponse({"status": "ok"})


async def readyz(request: Request) -> Response:
    """200 while the gateway takes requests and a model can be asked, else 503 with the reason."""
    state = request.app.state
    reason = not_ready(state)
    document = {
        "ready": reason is None,
        "reason": reason,
        "models": state.models.health,
        "refused": state.models.problems,
        "database": state.accounts.trouble or "ok",  # callers who were seen lately are served without it
        "warnings": state.unfit.found(),
        "results": state.history.trouble or "ok",  # the history goes on without files
    }
    return JSONResponse(document, 200 if reason is None else 503)


def not_ready(state: Any) -> str | None:
    """Why no request would be served just now; None where they would."""
    if state.in_hand.draining:
        return "draining"
    if state.upstream.place is None or state.upstream.missing:
        return "nothing is served: no launcher has said where"
    if state.accounts.audit.full:
        return f"the log of requests is full; of its database: {state.accounts.trouble or 'ok'}"
    if state.history.full:
        return f"too many answers wait to be written to the history; of its results: {state.history.trouble or 'ok'}"
    if not any(state.models.health.values()):
        return "no model takes requests just now"
    return None


async def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format, for keys with the scope `metrics`."""
    request.state.caller.need_scope("metrics")
    state = request.app.state
    counters = state.metrics
    counters.in_flight.set(state.in_hand.requests)
    counters.draining.set(state.in_hand.draining)
    counters.unread.set(state.in_hand.unread)
    for name in state.upstream.names:
        turns = state.upstream.turns(name)
        counters.held.labels(name).set(turns.held)
        counters.waiting.labels(name).set(turns.waiting)
    return Response(counters.text(), media_type=CONTENT_TYPE)


routes = [
    Route("/healthz", healthz),
    Route("/readyz", readyz),
    Route("/metrics", metrics),
]
