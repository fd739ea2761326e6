"""`POST /v1/chat/completions`: the next turn of a conversation, by a model that reads messages."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.bodies import read_json
from gateway.described import Described
from gateway.v1.asked import refuse
from gateway.v1.fields import CHAT, checked, params_of
from gateway.v1.messages import turns
from gateway.v1.shapes import Chat
from gateway.v1.texts import MAX_ASK, Ask, answer, multiplied, options, text_model


def chats(model: Described) -> bool:
    """Whether a model holds conversations."""
    return model.medium == "text" and model.has("messages")


async def chat(request: Request) -> Response:
    """One turn of the assistant, or n of them."""
    body = await read_json(request, MAX_ASK)
    model = await text_model(request, body, chats)
    settings = request.app.state.settings
    asked = checked(CHAT, body, model, settings.ignore_fields)
    if "messages" not in asked.fields:
        refuse("messages", "messages is missing: the conversation, as a list of objects with role and content")
    params = params_of(CHAT, asked, model)
    params["messages"] = turns(asked.fields["messages"], model, settings.system.get(model.name, "refuse"))
    stream, include_usage = options(asked)
    if stream:
        params["stream"] = True
    names = {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" in asked.fields else {}
    more = {"metadata": asked.fields["metadata"]} if "metadata" in asked.fields else {}
    parts = multiplied(request, asked, model, [params], [""])
    return await answer(request, Ask(parts, Chat(), stream, include_usage, names, more))


routes: list[BaseRoute] = [Route("/v1/chat/completions", chat, methods=["POST"])]
