"""A request in a model's own words: JSON, or a form where images come with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from gateway.bodies import read_json, value_of
from gateway.described import Described, Spec
from gateway.errors import ApiError
from gateway.forms import FileLimits, read_form
from gateway.native.models import image_param, needs_image
from gateway.work import Order, ordered

INLINE = "b64_json"  # a small image may stand in the request itself
MAX_IMAGE_BYTES = 16 << 20  # of one upload, where a model does not say
USUAL_PIXELS = 1 << 24  # of one upload, the same


async def order_of(request: Request, name: str) -> Order:
    """What a request orders of a model. Raises `ApiError`; the values of parameters are the model's to check."""
    model: Described = await request.app.state.models.get(name)
    request.state.caller.need(model.medium)
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        params = await _form(request, model)
    else:
        params = await read_json(request, model.limits["max_request_bytes"])
        images = [params[spec.name] for spec in model.params.values() if spec.type == "image" and spec.name in params]
        if not all(isinstance(image, dict) and set(image) == {INLINE} for image in images):
            raise needs_image(model)
    unknown = [name for name in params if not model.has(name)]
    if unknown:  # never handed on: words of our own, such as those for uploads, are not a caller's to say
        known = ", ".join(model.params)
        raise ApiError(400, f"model {model.name} knows no {unknown[0][:60]!r}; it knows {known}", param=unknown[0][:60])
    if (image := image_param(model)) is not None and params.get(image) is None:
        raise needs_image(model)
    return ordered(request, model, params)


async def _form(request: Request, model: Described) -> dict[str, Any]:
    """Fields are read as their parameter's type says; a file's place is taken by its reference."""
    form = await read_form(request, request.state.kept, file_limits(model))
    params = {name: field(text, model.params.get(name), name) for name, text in form.fields.items()}
    for name, files in form.files.items():
        if len(files) > 1:
            raise ApiError(400, f"{name} has {len(files)} files, wanted one", param=name)
        params[name] = files[0].reference()
    return params


def file_limits(model: Described) -> FileLimits:
    """What may be uploaded to a model, under the names of its parameters."""
    names = [spec.name for spec in model.params.values() if spec.type == "image"]
    return FileLimits(names, *upload_limits([model]))


def upload_limits(models: Sequence[Described]) -> tuple[int, int]:
    """The most bytes and pixels of one upload that any of these models takes."""
    sizes = [model.limits.get("max_upload_bytes", MAX_IMAGE_BYTES) for model in models]
    pixels = [model.limits.get("max_pixels", USUAL_PIXELS) for model in models]
    return max(sizes, default=MAX_IMAGE_BYTES), max(pixels, default=USUAL_PIXELS)


def field(text: str, spec: Spec | None, name: str) -> Any:
    """The value of a form's field: texts as they are, all others as JSON has them. Raises `ApiError`."""
    if spec is None or spec.type == "string":
        return text
    try:
        return value_of(text)
    except ValueError:
        raise ApiError(400, f"{name} is {text[:60]!r}, wanted {spec.type}", param=name) from None
