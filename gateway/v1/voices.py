"""Voices: what the operator calls so, and what a model offers that is one; `/v1/audio/voices`, `/v1/audio/models`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route

from gateway.described import Described, Spec
from gateway.v1.asked import refuse, shown

Aliases = Mapping[str, Mapping[str, Any]]  # a voice -> the parameters that it stands for
VOICES = ("voice", "speaker", "key")  # parameters whose choices are voices


def voice_param(model: Described) -> Spec | None:
    """The parameter whose choices are the model's voices. What is said (`label`) is one where no text is read."""
    names = VOICES if model.has("text") else (*VOICES, "label")
    return next((model.params[name] for name in names if model.has(name) and model.params[name].choices), None)


def voices_of(model: Described, aliases: Aliases) -> list[str]:
    """The voices of a model: those of the operator that fit it, then its own."""
    fitting = [name for name, params in aliases.items() if all(model.has(param) for param in params)]
    own = voice_param(model)
    return [*fitting, *(name for name in (own.choices or () if own else ()) if name not in fitting)]


def voice_params(model: Described, voice: Any, aliases: Aliases) -> dict[str, Any]:
    """The parameters that a voice stands for; none for an absent one. Raises `ApiError`, and lists the voices."""
    if isinstance(voice, dict) and set(voice) == {"id"}:
        voice = voice["id"]
    if voice is None:
        return {}
    offered = voices_of(model, aliases)
    if not isinstance(voice, str) or voice not in offered:
        told = f"has {', '.join(offered)}" if offered else "has none, unless the operator names some (setting voices)"
        refuse("voice", f"voice is {shown(voice)}; model {model.name} {told}; or leave it out")
    own = voice_param(model)
    return dict(aliases[voice]) if voice in aliases else {own.name if own else "": voice}


async def voices(request: Request) -> JSONResponse:
    """`GET /v1/audio/voices`: of all models of sound, or of the one that `?model=` names."""
    state = request.app.state
    name = request.query_params.get("model")
    models = [await state.models.get(name)] if name else await state.models.all()
    found: dict[str, list[str]] = {}
    for model in models:
        if model.medium == "audio":
            for voice in voices_of(model, state.settings.voices):
                found.setdefault(voice, []).append(model.name)
    data = [{"id": voice, "name": voice, "object": "voice", "models": names} for voice, names in found.items()]
    return JSONResponse({"object": "list", "data": data, "voices": data})


async def speakers(request: Request) -> JSONResponse:
    """`GET /v1/audio/models`: the models of sound."""
    names = [model.name for model in await request.app.state.models.all() if model.medium == "audio"]
    data = [{"id": name, "name": name, "object": "model", "owned_by": "atelier"} for name in names]
    return JSONResponse({"object": "list", "data": data, "models": data})


routes: list[BaseRoute] = [
    Route("/v1/audio/voices", voices, methods=["GET"]),
    Route("/v1/audio/models", speakers, methods=["GET"]),
]
