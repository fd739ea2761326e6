"""Parameters of a request for text from a source, checked field by field and then together.

What would not be honoured is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from handlers.limits import SourceLimits
from handlers.params import ParamSpec, are_objects, check_all, draw_seed, shown
from handlers.refusals import Refusal
from handlers.sampling.next_token import Rule
from handlers.text.params import SMALLER, check_characters, content_type, hashed
from handlers.text.sources import Source, Sources

ROLES = ("user", "assistant")
OTHER_ROLES = ("system", "developer", "tool", "function")


@dataclasses.dataclass(frozen=True)
class SourceParams:
    """TextParams of texts from a source; the fields are the request's own names, with two exceptions.

    `turns` are the contents of its text or messages as they were sent, `source` their tokens as far as they are read.
    """

    turns: tuple[str, ...]
    source: Source
    max_tokens: int
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    repetition_penalty: float
    stop: tuple[str, ...]
    n: int
    beams: int
    length_penalty: float
    coverage_penalty: float
    seed: int
    logprobs: bool
    truncate: bool
    stream: bool
    smaller: ClassVar[str] = SMALLER

    @property
    def ids(self) -> tuple[int, ...]:
        """How many tokens the source has."""
        return self.source.ids

    @property
    def content_type(self) -> str:
        """The content type of the answer: server-sent events, or one JSON object."""
        return content_type(self.stream)

    @property
    def rows(self) -> int:
        """How many texts are written side by side."""
        return max(self.n, self.beams)

    @property
    def rule(self) -> Rule:
        """How the next token is chosen from its scores, where no beam is searched."""
        return Rule(self.temperature, self.top_k, self.top_p, self.repetition_penalty)

    def public(self) -> dict[str, Any]:
        """The honoured parameters; a receipt holds the hash of a text, not the text."""
        hidden = ("turns", "source", "stop")
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in hidden}
        return {"source": hashed("\0".join(self.turns)), "stop": [hashed(text) for text in self.stop], **values}


def parse(
    params: Any,
    specs: Sequence[ParamSpec],
    limits: SourceLimits,
    name: str,
    sources: Sources,
) -> SourceParams:
    """Check a request, and tokenize its source. Raises `Refusal`."""
    values = check_all(params, specs)
    if values["seed"] is None:
        values["seed"] = draw_seed()
    field = "messages" if "messages" in values else "text"
    if values[field] is None:
        raise Refusal(400, f"{field} is missing: it is what {name} reads", field)
    turns = _turns(values.pop("messages")) if field == "messages" else (values.pop("text"),)
    kept = sources.kept(turns, field, values["truncate"])
    for turn in kept:
        _check_turn(field, turn)
    stop = values.pop("stop")
    values["stop"] = (stop,) if isinstance(stop, str) else tuple(stop or ())
    _check_stop(values["stop"], limits)
    _check_together(values)
    for wide in ("n", "beams"):
        if values[wide] > limits.max_slots:  # it would wait for room that never comes
            message = f"{wide} is {values[wide]}, {name} writes at most {limits.max_slots} texts at once"
            raise Refusal(400, message, wide)
    return SourceParams(turns=turns, source=sources.tokenize(kept, field, values["truncate"]), **values)


def _turns(messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The contents of messages, whose roles must take turns. Raises `Refusal`."""
    turns = []
    for at, message in enumerate(messages):
        turns.append(_content(f"messages[{at}]", message))
        wanted = ROLES[at % 2]
        if message["role"] == wanted:
            continue
        found = message["role"] if message["role"] in (*ROLES, *OTHER_ROLES) else "another one"
        remedy = "user and assistant take turns"
        if found in OTHER_ROLES:
            remedy += ", and no other is read: put what it says into the first message of the user, or leave it out"
        elif at and found == messages[at - 1]["role"]:
            remedy += f"; join the two of the {found} into one message"
        raise Refusal(400, f"messages[{at}] has the role {found}, wanted {wanted}: {remedy}", "messages")
    if len(messages) % 2 == 0:
        raise Refusal(400, "messages must end with one of the user, which is what is answered", "messages")
    return tuple(turns)


def _content(place: str, message: Mapping[str, Any]) -> str:
    """The text of a message of a role and a content, which is a string or a list of parts. Raises `Refusal`."""
    more = [name for name in message if name not in ("role", "content")]
    content: Any = message.get("content")
    if more or not isinstance(message.get("role"), str) or not (isinstance(content, str) or are_objects(content)):
        remedy = f"; leave out {shown(more[0])}" if more else ""
        raise Refusal(400, f"{place} wants exactly a role and a content, both strings{remedy}", "messages")
    if isinstance(content, str):
        return content
    texts = []
    for part in content:
        kind, text = part.get("type"), part.get("text")
        if kind != "text" or not isinstance(text, str) or len(part) != 2:
            found = f"one of type {shown(kind)}" if kind != "text" else "one with other fields"
            wanted = 'a string or a list of parts {"type": "text", "text": "..."}'
            raise Refusal(400, f"{place} has a content with {found}, wanted {wanted}: words alone are read", "messages")
        texts.append(text)
    return "".join(texts)


def _check_turn(field: str, turn: str) -> None:
    if not turn.strip():
        raise Refusal(400, f"{field} is {'empty' if not turn else 'white space alone'}; send some words", field)
    check_characters(field, turn)


def _check_stop(stop: Sequence[str], limits: SourceLimits) -> None:
    if len(stop) > limits.max_stop:
        raise Refusal(400, f"stop has {len(stop)} strings, wanted at most {limits.max_stop}", "stop")
    for text in stop:
        if not text:
            raise Refusal(400, "stop holds an empty string, which would end every text at once; leave it out", "stop")
        if len(text) > limits.max_stop_characters:
            wanted = limits.max_stop_characters
            raise Refusal(400, f"stop holds a string of {len(text)} characters, wanted at most {wanted}", "stop")


def _check_together(v: Mapping[str, Any]) -> None:
    """Raise `Refusal` for parameters that contradict each other or would have no effect."""
    if v["min_tokens"] > v["max_tokens"]:
        raise Refusal(
            400, f"min_tokens is {v['min_tokens']}, over max_tokens, which is {v['max_tokens']}", "min_tokens"
        )
    if v["beams"] > 1:
        _check_beams(v)
        return
    for field, neutral in (("length_penalty", 1), ("coverage_penalty", 0)):
        if v[field] != neutral:
            raise Refusal(400, f"{field} is for beam search alone; set beams to 2 or more, or leave it out", field)
    if v["temperature"] == 0:
        for field, neutral in (("top_k", 0), ("top_p", 1)):
            if v[field] != neutral:
                message = f"{field} has no effect at temperature 0, where nothing is drawn; raise temperature"
                raise Refusal(400, message, field)
        if v["n"] > 1:
            raise Refusal(400, "at temperature 0 all n texts would be the same; raise temperature, or set beams", "n")


def _check_beams(v: Mapping[str, Any]) -> None:
    for field, neutral in (("temperature", 0), ("top_k", 0), ("top_p", 1), ("repetition_penalty", 1)):
        if v[field] != neutral:
            message = (
                f"{field} is {v[field]:g}, but a search with {v['beams']} beams draws nothing; leave out one of the two"
            )
            raise Refusal(400, message, field)
    if v["stream"]:
        raise Refusal(400, "a beam search has nothing to send before its end; leave out stream or beams", "stream")
    if v["stop"]:
        raise Refusal(400, "beam search knows no stop strings; leave out stop or beams", "stop")
    if v["n"] > v["beams"]:
        raise Refusal(400, f"n is {v['n']}, wanted at most beams, which is {v['beams']}", "n")
