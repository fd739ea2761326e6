"""`POST /v1/completions`: how a prompt goes on, or what a text says in short, by a model that reads one text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.bodies import read_json
from gateway.described import Described
from gateway.v1.asked import Asked, refuse, shown
from gateway.v1.fields import COMPLETIONS, checked, params_of
from gateway.v1.shapes import Completion
from gateway.v1.texts import MAX_ASK, Ask, answer, multiplied, options, text_model

SOURCES = ("prompt", "text")  # parameters that read the prompt: a beginning, or what is summarized


def completes(model: Described) -> bool:
    """Whether a model makes a text of one text."""
    return model.medium == "text" and any(model.has(name) for name in SOURCES)


async def completions(request: Request) -> Response:
    """n texts of each prompt."""
    body = await read_json(request, MAX_ASK)
    model = await text_model(request, body, completes)
    _no_tokens(body.get("prompt"))
    asked = checked(COMPLETIONS, body, model, request.app.state.settings.ignore_fields)
    _best_of(asked)
    source = next(name for name in SOURCES if model.has(name))
    if source in asked.own:
        refuse(source, f"{source} is what this route calls prompt; send it as that")
    prompts = _prompts(asked, model, source)
    params = params_of(COMPLETIONS, asked, model)
    stream, include_usage = options(asked)
    if stream:
        params["stream"] = True
    given = [params if prompt is None else {source: prompt, **params} for prompt in prompts]
    echo = [prompt or "" if asked.flag("echo") else "" for prompt in prompts]
    parts = multiplied(request, asked, model, given, echo)
    n = int(asked.fields.get("n", 1))
    shape = Completion([before for before in echo for _ in range(n)])
    return await answer(request, Ask(parts, shape, stream, include_usage, {source: "prompt"}))


def _no_tokens(prompt: Any) -> None:
    """Raise a 400 for a prompt of numbers: OpenAI's tokens are not those of a model here."""
    items = prompt if isinstance(prompt, list) else []
    if any(isinstance(item, (int, float, list)) for item in items):
        refuse("prompt", f"prompt is {shown(prompt)}: token arrays are not read, send texts")


def _best_of(asked: Asked) -> None:
    n, best = asked.fields.get("n", 1), asked.fields.get("best_of")
    if best is not None and best != n:
        refuse("best_of", f"best_of is {shown(best)}, wanted n, which is {shown(n)}: every text is sent; leave it out")


def _prompts(asked: Asked, model: Described, source: str) -> list[str | None]:
    """The prompts; one None where none is given to a model that begins by itself."""
    prompt = asked.fields.get("prompt")
    if prompt is None:
        if source == "text":
            refuse("prompt", f"prompt is missing: it is what model {model.name} reads")
        return [None]
    return [prompt] if isinstance(prompt, str) else list(prompt)


def example(model: Described) -> Mapping[str, Any]:
    """A request that the model answers, by the example of its document."""
    source = next(name for name in SOURCES if model.has(name))
    return {"model": model.name, "prompt": model.example.get(source, "")}


routes: list[BaseRoute] = [Route("/v1/completions", completions, methods=["POST"])]
