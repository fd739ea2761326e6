"""`POST /v1/moderations`: what this server's rules say of texts and images, in the shape that OpenAI's clients read."""

from __future__ import annotations

import asyncio
import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.bodies import read_json
from gateway.departure import unless_gone
from gateway.errors import ApiError
from gateway.moderation.categories import CATEGORIES
from gateway.moderation.guard import Moderation
from gateway.moderation.verdicts import Verdict
from gateway.pictures import NotAPicture
from gateway.v1.asked import refuse, shown

MODEL = "atelier-moderation"
MODELS = (MODEL, "omni-moderation-latest", "omni-moderation-2024-09-26", "text-moderation-latest")  # any of them
MAX_ASK = 24 << 20  # bytes of a request, most of it images in base64
MAX_TEXTS, MAX_IMAGES = 256, 8  # of one request
OF_IMAGES = ("self-harm", "self-harm/instructions", "self-harm/intent", "sexual", "violence", "violence/graphic")
FIELDS = ("input", "model")
PART = 'wanted {"type": "text", "text": "..."} or {"type": "image_url", "image_url": {"url": "data:image/..."}}'


async def moderations(request: Request) -> Response:
    """A result of each text of a list of texts; one result of everything else."""
    moderation = request.app.state.moderation
    if not moderation.on:
        message = "this server does not moderate; its operator turns it on by the setting moderation"
        raise ApiError(404, message, code="moderation_off", should_retry=False)
    body = await read_json(request, MAX_ASK)
    ignored = request.app.state.settings.ignore_fields
    for name, value in body.items():
        if name not in FIELDS and name not in ignored and value is not None:
            refuse(name, f"{name[:60]} is unknown; known are {', '.join(FIELDS)}")
    if body.get("model") not in (None, *MODELS):
        refuse("model", f"model is {shown(body['model'])}, wanted one of {', '.join(MODELS)}, or leave it out")
    results = await unless_gone(request, _results(moderation, body.get("input")))
    return JSONResponse({"id": f"modr-{secrets.token_hex(16)}", "model": MODEL, "results": results})


async def _results(moderation: Moderation, given: Any) -> list[dict[str, Any]]:
    if isinstance(given, str):
        return [_result(await moderation.judge.judge([given]), set(), images=False)]
    if not isinstance(given, list) or not given:
        refuse("input", f"input is {shown(given)}, wanted a string, a list of strings, or a list of parts")
    if len(given) > MAX_TEXTS:
        refuse("input", f"input has {len(given)} items, wanted at most {MAX_TEXTS}")
    if all(isinstance(item, str) for item in given):
        return [_result([verdict], set(), images=False) for verdict in await moderation.judge.judge(given)]
    texts, images = [], []
    for at, item in enumerate(given):
        place = f"input[{at}]"
        kind = item.get("type") if isinstance(item, dict) else None
        if kind == "text" and isinstance(item.get("text"), str):
            texts.append(item["text"])
        elif kind == "image_url" and isinstance(item.get("image_url"), dict):
            images.append((place, item["image_url"].get("url")))
        else:
            refuse(place, f"{place} is {shown(item)}, {PART}; a list has texts alone or parts alone")
    if len(images) > MAX_IMAGES:
        refuse("input", f"input has {len(images)} images, wanted at most {MAX_IMAGES}")
    verdicts = await moderation.judge.judge(texts)
    near = [await asyncio.to_thread(_blocked, moderation, place, url) for place, url in images]
    return [_result(verdicts, {category for category in near if category}, images=bool(images))]


def _blocked(moderation: Moderation, place: str, url: Any) -> str | None:
    """The category of the blocked image that one is like. Raises `ApiError`."""
    param = f"{place}.image_url"
    if not isinstance(url, str) or not url.startswith("data:image/"):
        refuse(param, f"{param} is {shown(url)}: links are not fetched, send data:image/png;base64,...")
    head, _, text = url.partition(",")
    try:
        content = base64.b64decode(text, validate=True) if head.endswith(";base64") else b""
        near = moderation.near(content)
    except (binascii.Error, NotAPicture) as error:
        refuse(param, f"{param} is no picture that is read here: {error}; send a PNG, JPEG or WebP in base64")
    return None if near is None else near.image.category


def _result(verdicts: Sequence[Verdict], blocked: set[str], *, images: bool) -> dict[str, Any]:
    """One result; of several texts the worst of each."""
    found = {hit.category for verdict in verdicts for hit in verdict.hits} | blocked
    return {
        "flagged": bool(found),
        "categories": {name: name in found for name in CATEGORIES},
        "category_scores": {name: 1.0 if name in found else _score(name, verdicts) for name in CATEGORIES},
        "category_applied_input_types": {name: _types(name, bool(verdicts), images) for name in CATEGORIES},
    }


def _score(name: str, verdicts: Sequence[Verdict]) -> float:
    scores: list[Mapping[str, float]] = [verdict.scores for verdict in verdicts]
    return max((score.get(name, 0.0) for score in scores), default=0.0)


def _types(name: str, texts: bool, images: bool) -> list[str]:
    """What was looked at for a category, as far as the client's types have words for it."""
    return [*(["text"] if texts else []), *(["image"] if images and name in OF_IMAGES else [])]


routes: list[BaseRoute] = [Route("/v1/moderations", moderations, methods=["POST"])]
