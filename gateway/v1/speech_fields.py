"""What a request for speech asks: OpenAI's fields as the own parameters of a model of sound."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.described import Described
from gateway.v1.asked import Asked, Table, refuse, shown, sort_out
from gateway.v1.voices import Aliases, voice_params

MAX_INPUT = 4096  # characters
PCM_RATE = 24_000  # Hz: what every client of OpenAI's takes pcm for
FORMATS = ("mp3", "opus", "flac", "wav", "pcm")
WHOLE = ("wav", "flac")  # whole unless a stream is asked for: their heads say how long they are
_NOT = "no model here reads it"
TABLE = Table(
    ("model", "input", "voice", "response_format", "speed", "stream_format"), {}, {"instructions": _NOT, "stream": _NOT}
)
# A model's parameter -> the field that callers know it by.
FIELDS = {"text": "input", "format": "response_format", "tempo": "speed"}


@dataclasses.dataclass(frozen=True)
class SpeechAsk:
    """One request: the model's parameters, whether events are wanted, and how many characters are said."""

    params: dict[str, Any]
    as_events: bool
    characters: int


def speech_ask(
    body: Mapping[str, Any],
    model: Described,
    readers: Sequence[str],
    aliases: Aliases,
    ignored: Sequence[str],
    accepted: str | None,
) -> SpeechAsk:
    """What a request asks of a model. `readers`: models that say a text; `accepted`: the format of `Accept`.

    Raises `ApiError`.
    """
    asked = sort_out(body, TABLE, model, ignored)
    params = dict(asked.own)
    if params.get("n", 1) != 1:
        refuse("n", f"n is {shown(params['n'])}; speech is one sound: POST /api/generate/{model.name} makes several")
    for name, value in voice_params(model, asked.fields.get("voice"), aliases).items():
        params.setdefault(name, value)
    said = _said(asked, model, readers, params)
    if said:
        params["text"] = said
    params |= _speed(asked, model, params)
    kind = _format(asked, model, accepted, params)
    how = asked.fields.get("stream_format")
    if how is not None:
        asked.choice("stream_format", "audio", ("audio", "sse"))
    if model.has("stream") and (how is not None or kind not in WHOLE):
        params["stream"] = True
    return SpeechAsk(params, how == "sse", len(said))


def _said(asked: Asked, model: Described, readers: Sequence[str], params: Mapping[str, Any]) -> str:
    """The text that is said; empty where none is."""
    text = asked.text("input", most=MAX_INPUT)
    if not model.has("text"):
        if text:
            told = f"models that say one: {', '.join(readers)}" if readers else "no model here says one"
            refuse("input", f'model {model.name} says no text: send "" and choose by its parameters ({told})')
        return ""
    if "text" in params:
        if text:
            refuse("text", "text and input are both given; leave text out")
        return ""
    if not text and "label" not in params:
        refuse("input", f"input is {'missing' if text is None else 'empty'}; {reads(model)}")
    return text or ""


def reads(model: Described) -> str:
    """What a model reads, in words."""
    return f"model {model.name} says: {model.params['text'].doc}"


def _speed(asked: Asked, model: Described, params: Mapping[str, Any]) -> dict[str, Any]:
    """`speed` as `tempo`, where the model has one."""
    speed = asked.fields.get("speed", 1.0)
    if isinstance(speed, bool) or not isinstance(speed, (int, float)) or not 0.25 <= speed <= 4:
        refuse("speed", f"speed is {shown(speed)}, wanted a number from 0.25 to 4")
    tempo = model.params.get("tempo")
    if tempo is None:
        if speed != 1:
            refuse("speed", f"speed is {shown(speed)}; model {model.name} has one speed alone: 1, or leave it out")
        return {}
    usual = params.get("tempo", tempo.default)
    if speed == 1 or isinstance(usual, bool) or not isinstance(usual, (int, float)):
        return {}
    faster = usual * speed
    if not (tempo.minimum or 0) <= faster <= (tempo.maximum or faster):
        bounds = f"{(tempo.minimum or 0) / usual:.3g} to {(tempo.maximum or faster) / usual:.3g}"
        refuse("speed", f"speed is {shown(speed)}; model {model.name} plays at {bounds} times its usual tempo")
    return {"tempo": faster}


def _format(asked: Asked, model: Described, accepted: str | None, params: dict[str, Any]) -> str:
    """The format of the file, which is written into `params`."""
    spec = model.params.get("format")
    choices = spec.choices if spec is not None and spec.choices else ("wav",)
    offered = [kind for kind in FORMATS if kind in choices]
    if "format" in params:
        if "response_format" in asked.fields:
            refuse("format", "format and response_format are both given; leave format out")
        return str(params["format"]).lower()
    kind = asked.choice("response_format", accepted if accepted in offered else "mp3", offered)
    if spec is not None:
        params["format"] = kind
    if kind == "pcm" and model.has("sample_rate"):
        params.setdefault("sample_rate", PCM_RATE)
    return kind
