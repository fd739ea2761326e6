"""Images and speech in the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.described import Described
from gateway.native.models import image_param
from gateway.openapi.parts import (
    EVENT,
    EVENTS,
    FORM,
    JSON,
    Document,
    answer,
    in_path,
    operation,
    per_model,
    record,
    reference,
)
from gateway.openapi.requests import Rules, Schemas, request
from gateway.settings import Settings
from gateway.v1 import image_fields, speech_fields
from gateway.v1.asked import Table
from gateway.v1.voices import voices_of

IMAGES, SOUNDS = "images", "sounds"
_STRING, _INTEGER = {"type": "string"}, {"type": "integer"}
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
_IMAGE_WORDS = {
    "prompt": 'what to draw; "" alone, or nothing, for a model that reads none',
    "n": "how many images: those of seed, seed + 1, ...",
    "size": "auto, or what the model makes",
    "response_format": "the images themselves in base64, or links to them",
    "output_format": "png where it is absent",
    "output_compression": "quality of jpeg and webp, from 1; of png 100 alone",
    "stream": "send each image as an event when it is there",
    "partial_images": "taken; no partial images are sent",
    "user": "who asks, as the caller names him; echoed, and not kept",
    "safety_identifier": "the same, and echoed in place of user",
}


def paths(models: Sequence[Described], settings: Settings) -> Document:
    """The paths; those that no model can answer just now are left out."""
    found: Document = {}
    images = [model for model in models if model.medium == "image"]
    drawing = [model for model in images if image_param(model) is None]
    changing = [model for model in images if image_param(model) is not None]
    if drawing:
        found["/v1/images/generations"] = {"post": _generations(drawing, settings)}
    if changing:
        edits = _form(changing, settings, image_fields.EDITS, ("image", "image[]", "mask"))
        variations = _form(changing, settings, image_fields.VARIATIONS, ("image", "image[]"))
        found["/v1/images/edits"] = {"post": _images("editImage", "an image as a model changes it", edits)}
        found["/v1/images/variations"] = {"post": _images("varyImage", "images like one that is sent", variations)}
    if sounding := [model for model in models if model.medium == "audio"]:
        found["/v1/audio/speech"] = {"post": _speech(sounding, settings)}
    voices = {"get": _listing("listVoices", "voices of the models of sound", "Voices")}
    named = {"name": "model", "in": "query", "description": "of this model alone", "schema": _STRING}
    voices["get"]["parameters"] = [named]
    found["/v1/audio/voices"] = voices
    found["/v1/audio/models"] = {"get": _listing("listSpeakers", "the models of sound", "Voices")}
    name = in_path("name", "as an answer with response_format url named it")
    file = answer("the image", dict.fromkeys(_IMAGE_TYPES))
    kept = operation("getResult", "an image that is kept for a while", file, tag=IMAGES, parameters=[name], public=True)
    found["/v1/results/{name}"] = {"get": kept}
    return found


def _generations(models: Sequence[Described], settings: Settings) -> Document:
    rules = Rules(image_fields.GENERATIONS, _drawn(settings), ("format", "quality", "n"))
    asks, examples = [], {}
    for model in models:
        required = ["prompt"] if model.has("prompt") else []
        asks.append(request(rules, model, settings, required, "images of"))
        examples[model.name] = {"value": {"model": model.name, "prompt": "", **_example(model, rules.table)}}
    body = {JSON: {"schema": per_model(asks), "examples": examples}}
    return _images("createImage", "images that a model draws", body)


def _form(models: Sequence[Described], settings: Settings, table: Table, files: Sequence[str]) -> Document:
    rules = Rules(table, _drawn(settings), ("format", "quality", "n"))
    file = {"type": "string", "contentMediaType": "image/*", "description": "PNG, JPEG or WebP"}
    asks = []
    for model in models:
        made = request(rules, model, settings, [], "images of")
        made["properties"] |= {name: file for name in files if name != "mask" or model.has("mask")}
        asks.append(made)
    return {FORM: {"schema": per_model(asks)}}


def _images(name: str, summary: str, body: Document) -> Document:
    kinds = {JSON: reference("Images"), EVENTS: EVENT, **dict.fromkeys(_IMAGE_TYPES)}
    return operation(
        name, summary, answer("as JSON; as events with stream; as bytes by Accept", kinds), tag=IMAGES, body=body
    )


def _drawn(settings: Settings) -> Schemas:
    def schema(name: str, model: Described) -> Mapping[str, Any]:
        """What a field of the routes for images may be. Raises `KeyError` for one that has no place here."""
        spec = model.params
        choices = spec["format"].choices if "format" in spec else None
        read = model.has("prompt") or "prompt" in settings.ignore_fields
        known: Mapping[str, Mapping[str, Any]] = {
            "prompt": {"type": "string", "maxLength": image_fields.MAX_PROMPT} if read else {"enum": [""]},
            "n": {"type": "integer", "minimum": 1, "maximum": int(spec["n"].maximum or 1) if "n" in spec else 1},
            "size": {"type": "string", "pattern": f"^(auto|{image_fields.SIZE.pattern})$"},
            "response_format": {"enum": ["b64_json", "url"]},
            "output_format": {"enum": list(choices or image_fields.FORMATS[:1])},
            "output_compression": {"type": "integer", "minimum": 0, "maximum": 100},
            "stream": {"type": "boolean"},
            "partial_images": {"type": "integer", "minimum": 0, "maximum": 3},
            "user": _STRING,
            "safety_identifier": _STRING,
        }
        return {**known[name], "description": _IMAGE_WORDS[name]}

    return schema


def _speech(models: Sequence[Described], settings: Settings) -> Document:
    rules = Rules(speech_fields.TABLE, _spoken(settings), ("text", "format", "stream"), {"n": {"enum": [1]}})
    asks, examples = [], {}
    for model in models:
        asks.append(request(rules, model, settings, [], "sounds of"))
        said = {name: value for name, value in model.example.items() if name not in rules.hidden}
        text = model.example.get("text")
        examples[model.name] = {"value": {"model": model.name, **({"input": text} if text else {}), **said}}
    body = {JSON: {"schema": per_model(asks), "examples": examples}}
    kinds = ("audio/mpeg", "audio/ogg", "audio/flac", "audio/wav", "audio/pcm")
    answers = answer(
        "the sound as it is made; as events with stream_format sse", {**dict.fromkeys(kinds), EVENTS: EVENT}
    )
    return operation(
        "createSpeech", "a sound that a model makes of a text, or by itself", answers, tag=SOUNDS, body=body
    )


def _spoken(settings: Settings) -> Schemas:
    def schema(name: str, model: Described) -> Mapping[str, Any]:
        """What a field of the route for speech may be. Raises `KeyError` for one that has no place here."""
        voices = voices_of(model, settings.voices)
        known: Mapping[str, Mapping[str, Any]] = {
            "input": {"type": "string", "maxLength": speech_fields.MAX_INPUT if model.has("text") else 0},
            "voice": {"oneOf": [{"enum": voices}, record({"id": {"enum": voices}}, ["id"], closed=True)]}
            if voices
            else {"type": "null"},
            "response_format": {"enum": list(speech_fields.FORMATS)},
            "speed": {"type": "number", "minimum": 0.25, "maximum": 4} if model.has("tempo") else {"enum": [1]},
            "stream_format": {"enum": ["audio", "sse"]},
        }
        return known[name]

    return schema


def _example(model: Described, table: Table) -> Document:
    return {name: value for name, value in model.example.items() if name not in ("prompt", *table.neutral)}


def _listing(name: str, summary: str, schema: str) -> Document:
    return operation(name, summary, answer(summary, {JSON: reference(schema)}), tag=SOUNDS)


def components() -> Document:
    """Schemas of the answers."""
    image = record({"b64_json": _STRING, "url": _STRING, "seed": _INTEGER})
    voice = record({"id": _STRING, "name": _STRING}, ["id", "name"])
    return {
        "Images": record({"created": _INTEGER, "data": {"type": "array", "items": image}}, ["created", "data"]),
        "Voices": record({"object": {"enum": ["list"]}, "data": {"type": "array", "items": voice}}, ["object", "data"]),
    }
