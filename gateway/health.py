"""`/healthz`: the process answers. `/readyz`: requests would be served. `/metrics`."""

from __future__ import annotations

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
    reason = None
    if state.draining.begun:
        reason = "draining"
    elif not state.models.known():
        reason = "no model is served"
    document = {
        "ready": reason is None,
        "reason": reason,
        "refused": dict(state.models.problems),
        "database": state.accounts.trouble or "ok",  # callers who were seen lately are served without it
    }
    return JSONResponse(document, 200 if reason is None else 503)


async def metrics(request: Request) -> Response:
    """Counters in Prometheus' text format."""
    state = request.app.state
    counters = state.metrics
    counters.in_flight.set(state.draining.in_hand)
    counters.draining.set(state.draining.begun)
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
