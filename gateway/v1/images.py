"""`POST /v1/images/generations`: images of a model, as JSON, as events, or as their bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.bodies import read_json
from gateway.departure import unless_gone
from gateway.described import Described
from gateway.errors import ApiError
from gateway.native.models import image_param, needs_image
from gateway.upstream import MAX_BODY
from gateway.v1 import image_answers
from gateway.v1.asked import model_name, refuse, renamed
from gateway.v1.image_answers import Pictures
from gateway.v1.image_fields import FIELDS, GENERATIONS, ImageAsk, image_ask
from gateway.v1.raw import IMAGES, wanted
from gateway.work import Made, Order, made, ordered

INLINE = 256 << 10  # bytes of an answer that are worked on at once; more of them in a thread
EVENTS = "text/event-stream"
Given = ParamSpec("Given")
Found = TypeVar("Found")


async def generations(request: Request) -> Response:
    """Images of what a model draws by itself, or by a prompt."""
    body = await read_json(request, 4 * MAX_BODY)
    state = request.app.state
    model = await image_model(request, body)
    if image_param(model) is not None:
        raise needs_image(model)
    readers = [other.name for other in state.models.known() if other.medium == "image" and other.has("prompt")]
    ask = image_ask(body, GENERATIONS, model, readers, state.settings.ignore_fields)
    return await answer(request, ask, ordered(request, model, ask.params), "image_generation")


async def image_model(request: Request, body: dict[str, object]) -> Described:
    """The model that a request names. Raises `ApiError` for one that makes no images."""
    model: Described = await request.app.state.models.get(model_name(body))
    if model.medium != "image":
        refuse("model", f"model {model.name} makes {model.medium}, not images; GET /api/models says what each makes")
    request.state.caller.need(model.medium)
    return model


async def answer(request: Request, ask: ImageAsk, order: Order, kind: str) -> Response:
    """The images as the caller asked for them. `kind`: of events, such as "image_generation"."""
    raw = None if ask.stream or ask.as_url else wanted(request.headers.get("accept"), IMAGES)
    if raw is not None:
        if ask.count > 1 and not order.params.get("grid"):
            refuse("n", f"{ask.count} images come as JSON, and Accept asks for the bytes of one: send n = 1")
        format_of = order.model.params.get("format")
        if ask.format is None and format_of is not None and raw in (format_of.choices or ()):
            order = ordered(request, order.model, {**order.params, "format": raw})
    sizes: Sizes = request.app.state.sizes
    if ask.size is not None and image_param(order.model) is None:
        sizes.check(order.model, ask.size)
    try:
        result = await unless_gone(request, made(request.app.state, order))
    except ApiError as error:
        raise renamed(error, FIELDS) from None
    headers = result.headers
    pictures = await worked(result, image_answers.opened, result)
    if not order.params.get("grid"):
        sizes.learn(order.model, pictures.size)
    if ask.size not in (None, pictures.size):
        raise other_size(order.model, ask.size, pictures.size)
    if raw is not None:
        return Response(result.body, 200, headers, result.content_type)
    if ask.stream:
        headers["x-accel-buffering"] = "no"
        return Response(await worked(result, image_answers.events, pictures, ask, kind), 200, headers, EVENTS)
    links = await linked(request, result, pictures) if ask.as_url else None
    body = await worked(result, image_answers.document, pictures, ask, links)
    return Response(body, 200, headers, "application/json")


async def linked(request: Request, result: Made, pictures: Pictures) -> list[str]:
    """Addresses of the images, which are kept for a while."""
    settings = request.app.state.settings
    base = (settings.public_url or str(request.base_url)).rstrip("/")
    links = []
    for picture in pictures.items:
        data = await worked(result, image_answers.file_of, picture)
        kept = await request.app.state.results.keep(
            request.state.caller.owner, data, pictures.content_type, result.receipt_text
        )
        links.append(f"{base}/v1/results/{kept.token}.{pictures.format}")
    return links


async def worked(result: Made, work: Callable[Given, Found], *given: Given.args, **named: Given.kwargs) -> Found:
    """What work on the bytes of an answer gives; in a thread where they are many."""
    if len(result.body) > INLINE:
        return await asyncio.to_thread(work, *given, **named)
    return work(*given, **named)


class Sizes:
    """What size the images of each model have, which its first answer tells."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, str]] = {}  # by model: its version, and the size

    def learn(self, model: Described, size: str | None) -> None:
        """An answer has images of this size."""
        if size is not None:
            self._known[model.name] = (model.version, size)

    def check(self, model: Described, size: str) -> None:
        """Refuse a size that the model is known not to make."""
        version, known = self._known.get(model.name, ("", ""))
        if version == model.version and size != known:
            raise other_size(model, size, known)


def other_size(model: Described, asked: str | None, made: str | None) -> ApiError:
    """What is told whoever asked for another size than a model makes."""
    return ApiError(400, f'size is {asked}; model {model.name} makes {made}: send that or "auto"', param="size")


routes: list[BaseRoute] = [Route("/v1/images/generations", generations, methods=["POST"])]
