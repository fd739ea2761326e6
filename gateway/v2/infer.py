"""`POST /v2/models/NAME/infer`: a model's parameters as tensors, its answer as tensors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.answer import late
from gateway.departure import unless_gone
from gateway.described import Described
from gateway.errors import ApiError
from gateway.native.orders import upload_limits
from gateway.v2.asked import Asked, Wanted, read
from gateway.v2.metadata import MODEL, VERSION, of_version
from gateway.v2.outputs import JSON, Result, chosen, form, results, written
from gateway.v2.params import MAX_BATCH, batch
from gateway.work import Made, Order, made, ordered, receipt_header

HEAD = 64 << 10  # bytes of JSON and small tensors, beside what a model takes
MAX_ANSWERS = 64 << 20  # bytes of all answers to one request
AT_ONCE = 8  # requests of one that a model is asked for at a time


async def infer(request: Request) -> Response:
    """One request to the model, or one for each element of its tensors."""
    model = await of_version(request)
    request.state.caller.need(model.medium)
    with request.app.state.tensors.hold(_size(request, most(model))):
        return await _inferred(request, model)


def _size(request: Request, most: int) -> int:
    """Bytes of the body, once it is unpacked, at most."""
    said = request.headers.get("content-length", "")
    packed = request.headers.get("content-encoding", "identity") != "identity"
    return min(int(said), most) if said.isdecimal() and not packed else most


async def _inferred(request: Request, model: Described) -> Response:
    asked = await read(request, most(model))
    wanted = chosen(asked, model)
    orders = [
        ordered(request, model, form(params, wanted, model)) for params in await batch(asked, model, request.state.kept)
    ]
    answers = await unless_gone(request, _within(asked, _all(request, orders)))
    found = await results(orders, answers, wanted)
    head, raw = await asyncio.to_thread(_encoded, asked, model, wanted, found)
    headers = receipt_header(answers[0].receipt_text) if len(answers) == 1 else {}
    if not raw:
        return Response(head, 200, headers, JSON)
    headers["inference-header-content-length"] = str(len(head))
    return Response(b"".join((head, *raw)), 200, headers, "application/octet-stream")


def _encoded(
    asked: Asked, model: Described, wanted: Sequence[Wanted], found: dict[str, Result]
) -> tuple[bytes, list[bytes]]:
    outputs, raw = written(wanted, found)
    document = {"model_name": model.name, "model_version": model.version, "outputs": outputs}
    if asked.id is not None:
        document["id"] = asked.id
    return json.dumps(document, ensure_ascii=False).encode(), raw


def most(model: Described) -> int:
    """Bytes of a request: what the model takes, and its images."""
    images = sum(spec.type == "image" for spec in model.params.values())
    taken = model.limits["max_request_bytes"] * (MAX_BATCH if not images else 1)
    return int(HEAD + min(taken, 16 << 20) + images * upload_limits([model])[0])


async def _within(asked: Asked, work: object) -> list[Made]:
    """What comes of the work, in the time that its caller gives it. Raises `ApiError` (504)."""
    try:
        async with asyncio.timeout(asked.seconds):
            return await work  # type: ignore[misc,no-any-return]
    except TimeoutError:
        raise late() from None


async def _all(request: Request, orders: Sequence[Order]) -> list[Made]:
    """The answers in their order; where one is refused, or they are too large together, the others end."""
    places, found = asyncio.Semaphore(AT_ONCE), 0

    async def ask(order: Order) -> Made:
        nonlocal found
        async with places:
            answer = await made(request.app.state, order)
        found += len(answer.body)
        if found > MAX_ANSWERS:
            raise ApiError(400, f"the answers have over {MAX_ANSWERS} bytes together; ask for fewer at once")
        return answer

    tasks = [asyncio.create_task(ask(order)) for order in orders]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


routes: list[BaseRoute] = [
    Route(f"{MODEL}/infer", infer, methods=["POST"]),
    Route(f"{VERSION}/infer", infer, methods=["POST"]),
]
