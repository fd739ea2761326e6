"""`POST /v1/images/edits` and `/v1/images/variations`: forms with an image, for models that change one."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.arrival import Spooled
from gateway.bodies import value_of
from gateway.described import Described
from gateway.errors import ApiError
from gateway.forms import FileLimits, Form, read_form
from gateway.native.models import image_param
from gateway.native.orders import field, upload_limits
from gateway.v1.asked import Table, refuse
from gateway.v1.image_fields import EDITS, VARIATIONS, WHOLE, image_ask
from gateway.v1.images import answer, image_model
from gateway.work import ordered

IMAGES = ("image", "image[]")  # what clients call one file, and one of several


async def edits(request: Request) -> Response:
    """An image as a model changes it."""
    return await _changed(request, EDITS, "image_edit", (*IMAGES, "mask"))


async def variations(request: Request) -> Response:
    """Images like one that is sent."""
    return await _changed(request, VARIATIONS, "image_variation", IMAGES)


async def _changed(request: Request, table: Table, kind: str, names: tuple[str, ...]) -> Response:
    state = request.app.state
    # Which model it is may stand behind its image: until then the largest limits of all models hold.
    changers = [model for model in state.models.known() if image_param(model)]
    form = await read_form(request, request.state.kept, FileLimits(names, *upload_limits(changers)))
    model = await image_model(request, dict(form.fields))
    references = _images(form, model)
    body = {name: _value(text, model, name) for name, text in form.fields.items()}
    readers = [other.name for other in state.models.known() if image_param(other) and other.has("prompt")]
    ask = image_ask(body, table, model, readers, state.settings.ignore_fields)
    return await answer(request, ask, ordered(request, model, ask.params | references), kind)


def _images(form: Form, model: Described) -> dict[str, Any]:
    """The files that a form brings, as the model's parameters. Raises `ApiError`."""
    name = image_param(model)
    if name is None:
        refuse("model", f"model {model.name} changes no images: it is asked by POST /v1/images/generations")
    files = [file for sent in IMAGES for file in form.files.get(sent, [])]
    if len(files) != 1:
        refuse("image", f"the form has {len(files)} images; model {model.name} takes one, in the field image")
    found = {name: _fitting(files[0], model, "image")}
    for mask in form.files.get("mask", []):
        if not model.has("mask"):
            refuse("mask", f"model {model.name} takes no mask; leave it out")
        found["mask"] = _fitting(mask, model, "mask")
    return found


def _fitting(file: Spooled, model: Described, name: str) -> dict[str, Any]:
    most, most_pixels = upload_limits([model])
    pixels = (file.width or 0) * (file.height or 0)
    if pixels > most_pixels or file.bytes > most:
        found = f"{file.width} x {file.height} = {pixels} pixels in {file.bytes} bytes"
        message = f"{name} has {found}, model {model.name} takes {most_pixels} pixels in {most} bytes: make it smaller"
        raise ApiError(413, message, param=name)
    return file.reference()


def _value(text: str, model: Described, name: str) -> Any:
    """The value of a field, which a form brings as text."""
    if name == "stream":
        return {"true": True, "false": False}.get(text.lower(), text)
    if name in WHOLE:
        try:
            return value_of(text)
        except ValueError:
            return text  # refused with the others that are no integers
    if name in EDITS.honoured or name in EDITS.neutral or name in EDITS.refused:
        return text
    return field(text, model.params.get(name), name)


routes: list[BaseRoute] = [
    Route("/v1/images/edits", edits, methods=["POST"]),
    Route("/v1/images/variations", variations, methods=["POST"]),
]
