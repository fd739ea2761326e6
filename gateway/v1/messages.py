"""Messages of a chat as OpenAI's clients send them, and as a model reads them: user and assistant in turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from gateway.described import Described
from gateway.v1.asked import refuse, shown

Policy = Literal["refuse", "prepend"]
SYSTEM = ("system", "developer")
TURNS = ("user", "assistant")
REFUSED = {"tool": "no model here calls tools", "function": "no model here calls functions"}
# Fields of a message that say nothing at these values, as they do in an answer that is sent back.
NEUTRAL: Mapping[str, tuple[Any, ...]] = {"tool_calls": ([],), "annotations": ([],)}


def turns(
    messages: Sequence[Any], model: Described, policy: Policy, field: str = "messages", told: Sequence[str] = ()
) -> list[dict[str, str]]:
    """The turns of a conversation. Raises `ApiError` whose `param` is the place of what is wrong.

    What a system or developer message says comes before the next turn of the user, where the policy is "prepend", and
    so does what was `told` before all of them. `field`: what the caller calls the messages.
    """
    found: list[dict[str, str]] = []
    waiting = list(told)
    for at, message in enumerate(messages):
        place = f"{field}[{at}]"
        role, content = _role(message, place), _content(message, place)
        if role in SYSTEM:
            if policy == "refuse":
                refuse(f"{place}.role", f"{place} has the role {role}; {remedy(model)}")
            waiting.append(content)
            continue
        wanted = TURNS[len(found) % 2]
        if role != wanted:
            again = f"; join the two of the {role} into one message" if found and at else ""
            refuse(f"{place}.role", f"{place} has the role {role}, wanted {wanted}: they take turns{again}")
        if role == "user" and waiting:
            content, waiting = "\n\n".join((*waiting, content)), []
        found.append({"role": role, "content": content})
    if waiting or len(found) % 2 == 0:
        refuse(field, f"{field} must end with one of the user, which is what is answered")
    return found


def remedy(model: Described) -> str:
    """What is told whoever sends words to a model beside the conversation."""
    return (
        f"model {model.name} was not trained to follow one: leave it out, "
        f'or have the operator set system = {{{model.name} = "prepend"}}, which puts it before what the user says'
    )


def _role(message: Any, place: str) -> str:
    if not isinstance(message, dict):
        refuse(place, f"{place} is {shown(message)}, wanted an object with role and content")
    role = message.get("role")
    if isinstance(role, str) and role in REFUSED:
        refuse(f"{place}.role", f"{place} has the role {role}: {REFUSED[role]}")
    if not isinstance(role, str) or role not in (*TURNS, *SYSTEM):
        refuse(f"{place}.role", f"{place} has the role {shown(role)}, wanted user or assistant")
    for name, value in message.items():
        if name in ("role", "content") or value is None or value in NEUTRAL.get(name, ()):
            continue
        refuse(f"{place}.{name[:60]}", f"{place} has {name[:60]}, which is not read here: role and content alone are")
    return role


def _content(message: Mapping[str, Any], place: str) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list) or not content:
        refuse(f"{place}.content", f"{place}.content is {shown(content)}, wanted a string or a list of parts with text")
    return "".join(_part(part, f"{place}.content[{at}]") for at, part in enumerate(content))


def _part(part: Any, place: str) -> str:
    wanted = 'wanted {"type": "text", "text": "..."}: words alone are read'
    if not isinstance(part, dict):
        refuse(place, f"{place} is {shown(part)}, {wanted}")
    kind, text = part.get("type"), part.get("text")
    if kind != "text":
        refuse(f"{place}.type", f"{place} is of type {shown(kind)}, {wanted}")
    if not isinstance(text, str):
        refuse(f"{place}.text", f"{place}.text is {shown(text)}, {wanted}")
    for name, value in part.items():
        if name not in ("type", "text") and value is not None:
            refuse(f"{place}.{name[:60]}", f"{place} has {name[:60]}, {wanted}")
    return text
