"""What a request for images asks: OpenAI's fields as a model's own parameters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.described import Described
from gateway.v1.asked import Asked, Table, refuse, shown, sort_out

MAX_PROMPT = 32_000  # characters
USUAL_N = 1
SIZE = re.compile(r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}")
FORMATS = ("png", "jpeg", "webp")
_COMMON = ("model", "n", "size", "response_format")
_ALL = (*_COMMON, "prompt", "output_format", "output_compression", "stream", "partial_images")
_WHO = ("user", "safety_identifier")
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "quality": ("auto", "standard"),
    "background": ("auto", "opaque"),
    "moderation": ("auto",),
}
_NO_MODEL = "no model here reads it"
_REFUSED = dict.fromkeys(("style", "complexity", "frame_count", "frame_duration_ms", "svg"), _NO_MODEL)
GENERATIONS = Table((*_ALL, *_WHO), _NEUTRAL, _REFUSED)
EDITS = Table((*_ALL, *_WHO), _NEUTRAL, {**_REFUSED, "input_fidelity": _NO_MODEL, "markup": _NO_MODEL})
VARIATIONS = Table((*_COMMON, *_WHO), {}, {})
# A model's parameter -> the field that callers know it by.
FIELDS = {"format": "output_format", "quality": "output_compression"}
# Fields that are no texts, which a form can bring as texts only.
WHOLE = ("n", "output_compression", "partial_images")


@dataclasses.dataclass(frozen=True)
class ImageAsk:
    """One request: the model's parameters, and how the answer is to look."""

    params: dict[str, Any]
    as_url: bool
    stream: bool
    size: str | None  # "WIDTHxHEIGHT"; None: whatever the model makes
    format: str | None  # as it was asked for
    identifier: str | None  # to be echoed

    @property
    def count(self) -> int:
        """How many images."""
        return int(self.params.get("n", USUAL_N))


def image_ask(
    body: Mapping[str, Any], table: Table, model: Described, readers: Sequence[str], ignored: Sequence[str]
) -> ImageAsk:
    """What a request asks of a model. `readers`: models that read a prompt. Raises `ApiError`."""
    asked = sort_out(body, table, model, ignored)
    params = dict(asked.own)
    if "prompt" in table.honoured:
        params |= _prompt(asked, model, readers, "prompt" in ignored)
    params |= _count(asked, model)
    params |= _format(asked, model)
    size = asked.text("size", "auto")
    if size != "auto" and not SIZE.fullmatch(size or ""):
        refuse("size", f'size is {shown(size)}, wanted "auto" or WIDTHxHEIGHT in pixels')
    asked.whole("partial_images", 0, 0, 3)  # the last image may come before any partial one: none is sent
    user = asked.text("user")
    return ImageAsk(
        params,
        asked.choice("response_format", "b64_json", ("b64_json", "url")) == "url",
        asked.flag("stream"),
        None if size == "auto" else size,
        params.get("format"),
        asked.text("safety_identifier") or user or None,
    )


def _prompt(asked: Asked, model: Described, readers: Sequence[str], overlooked: bool) -> dict[str, Any]:
    prompt = asked.text("prompt", most=MAX_PROMPT)
    if model.has("prompt"):
        if prompt is None:
            refuse("prompt", f"prompt is missing; model {model.name} draws what it says")
        return {"prompt": prompt}
    if prompt and not overlooked:
        told = f"models that read one: {', '.join(readers)}" if readers else "no model here reads one"
        refuse("prompt", f'model {model.name} reads no prompt: send "" and describe nothing ({told})')
    return {}


def _count(asked: Asked, model: Described) -> dict[str, Any]:
    spec = model.params.get("n")
    n = asked.whole("n", 1, 1, int(spec.maximum or 1) if spec is not None else 1)
    return {"n": n} if n > 1 else {}


def _format(asked: Asked, model: Described) -> dict[str, Any]:
    """`output_format` and `output_compression` as `format` and `quality`."""
    spec = model.params.get("format")
    offered = spec.choices if spec is not None and spec.choices else FORMATS[:1]
    params: dict[str, Any] = {}
    if "output_format" in asked.fields:
        if "format" in asked.own:
            refuse("format", "format and output_format are both given; leave one of them out")
        kind = asked.choice("output_format", "png", offered)
        if spec is not None:
            params["format"] = kind
    kind = str(asked.own.get("format") or params.get("format") or "png").lower()
    if "output_compression" in asked.fields:
        quality = model.params.get("quality")
        if kind == "png" or quality is None:
            if asked.fields["output_compression"] != 100:
                message = f"output_compression is {shown(asked.fields['output_compression'])}; {kind} loses nothing"
                refuse("output_compression", f"{message}: leave it out, or ask for output_format webp or jpeg")
        else:
            most, least = int(quality.maximum or 100), int(quality.minimum or 0)
            params["quality"] = asked.whole("output_compression", most, least, most)
    return params
