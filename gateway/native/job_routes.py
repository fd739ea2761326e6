"""Jobs: `POST /api/jobs/NAME` begins one, which its caller asks about, reads, cancels or forgets by its id."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator

from starlette.endpoints import HTTPEndpoint
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.errors import ApiError
from gateway.native.job import PREFIX, Job
from gateway.native.orders import order_of
from gateway.native.values import check
from gateway.streaming import Stream
from gateway.work import receipt_header


async def mine(request: Request) -> Response:
    """The caller's own jobs."""
    jobs = request.app.state.jobs.mine(request.state.caller.owner)
    return JSONResponse({"object": "list", "data": [job.document() for job in jobs]})


class OneJob(HTTPEndpoint):
    """`/api/jobs/NAME` begins a job of a model, `/api/jobs/ID` is a job."""

    async def post(self, request: Request) -> Response:
        """202 with the job, and where it is."""
        if request.path_params["id"].startswith(PREFIX) and not self._begins(request):
            await self.method_not_allowed(request)
        order = await order_of(request, request.path_params["id"])
        check(order.model, order.params)
        job = request.app.state.jobs.add(order)
        return JSONResponse(job.document(), 202, {"location": f"/api/jobs/{job.id}"})

    async def method_not_allowed(self, request: Request) -> Response:
        """A 405 that lists what this one takes, which a job and a model do not have in common."""
        raise HTTPException(405, headers={"Allow": "POST" if self._begins(request) else "DELETE, GET, HEAD"})

    @staticmethod
    def _begins(request: Request) -> bool:
        models, name = request.app.state.models, request.path_params["id"]
        return name in models.names or name in models.aliases

    async def get(self, request: Request) -> Response:
        """How a job is."""
        return JSONResponse(_found(request).document())

    async def delete(self, request: Request) -> Response:
        """Cancel a job that has not ended; forget one that has, with its result."""
        job = _found(request)
        await request.app.state.jobs.remove(job)
        return JSONResponse(job.document())


async def events(request: Request) -> Response:
    """How it is, again and again, as server-sent events named `job` until it has ended."""
    return Stream(_events(_found(request)), "text/event-stream")


async def result(request: Request) -> Response:
    """What it made, with the receipt; the error that ended it; 409 while it has not ended."""
    job, results = _found(request), request.app.state.results
    if job.error is not None:
        raise job.error.plain()
    if job.status != "done":
        told = "was cancelled" if job.status == "cancelled" else f"is {job.status}; ask again when it is done"
        raise ApiError(409, f"the job {told}", code=f"job_{job.status}", should_retry=False)
    kept = results.find(job.token)
    data = await results.read(kept) if kept is not None else None
    if data is None:
        raise ApiError(410, "the result had to make room for others; begin the job again", code="result_gone")
    return Response(data, 200, receipt_header(kept.receipt), kept.content_type)


def _found(request: Request) -> Job:
    job: Job = request.app.state.jobs.find(request.state.caller.owner, request.path_params["id"])
    return job


async def _events(job: Job) -> AsyncGenerator[bytes, None]:
    async for document in job.watched():
        if document is None:
            yield b": waiting\n\n"
        else:
            yield b"event: job\ndata: " + json.dumps(document).encode() + b"\n\n"


routes: list[BaseRoute] = [
    Route("/api/jobs", mine, methods=["GET"]),
    Route("/api/jobs/{id}", OneJob),
    Route("/api/jobs/{id}/events", events, methods=["GET"]),
    Route("/api/jobs/{id}/result", result, methods=["GET"]),
]
