"""Describe documents of one model of each sort, for the fake upstream."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.params import MAX_SEED, ParamSpec

SEED = ParamSpec("seed", "integer", "what it is drawn from; absent: drawn for you and returned", None, 0, MAX_SEED)
STREAM = ParamSpec("stream", "boolean", "send it as it is made", False)
N = ParamSpec("n", "integer", "how many; number i uses seed + i", 1, 1, 8)
IMAGES = (
    SEED,
    ParamSpec("n", "integer", "number of images; image i uses seed + i", 1, 1, 16),
    ParamSpec("truncation", "number", "how far from the average image", 1.0, 0, 1),
    ParamSpec("format", "string", "file format of the images", "png", choices=("png", "jpeg", "webp")),
    ParamSpec("quality", "integer", "for jpeg and webp alone", None, 1, 100, unit="percent"),
    ParamSpec("grid", "boolean", "one contact sheet instead of single images", False),
)
SOUNDS = (
    ParamSpec("label", "string", "the class", choices=tuple("0123456789")),
    ParamSpec("text", "string", "digits that are said one after the other"),
    ParamSpec("truncation", "number", "how far from the average clip", 1.0, 0, 1),
    SEED,
    N,
    ParamSpec("format", "string", "file format", "wav", choices=("wav", "flac", "ogg", "opus", "mp3", "pcm")),
    ParamSpec("encoding", "string", "of wav and flac alone", choices=("pcm_16", "pcm_24", "float")),
    ParamSpec("sample_rate", "integer", "of the file; absent: the model's own", None, 8000, 48000),
    STREAM,
)
PROMPT = (
    ParamSpec("prompt", "string", "how the text begins", ""),
    ParamSpec("max_tokens", "integer", "the most bytes to write", 256, 1, 1024),
    ParamSpec("temperature", "number", "0 always takes the likeliest byte", 0.7, 0, 2),
    ParamSpec("top_k", "integer", "draw among the k likeliest bytes alone", 0, 0, 256),
    SEED,
    STREAM,
)
DECODING = (
    ParamSpec("max_tokens", "integer", "the most tokens to write", 64, 1, 64),
    ParamSpec("min_tokens", "integer", "do not end before that many tokens", 0, 0, 64),
    ParamSpec("temperature", "number", "0 always takes the likeliest token", 0.0, 0, 2),
    ParamSpec("top_k", "integer", "draw among the k likeliest tokens", 0, 0, 1000),
    ParamSpec("top_p", "number", "draw among the likeliest tokens that hold this share", 1.0, 0.01, 1),
    ParamSpec("repetition_penalty", "number", "tokens that were written come again less likely", 1.0, 0.5, 2),
    ParamSpec("stop", "strings", "texts at which the answer ends"),
    N,
    ParamSpec("beams", "integer", "search with that many beams", 1, 1, 8),
    ParamSpec("length_penalty", "number", "over 0 prefers longer texts", 1.0, 0, 2),
    ParamSpec("coverage_penalty", "number", "over 0 prefers texts that look at all", 0.0, 0, 2),
    SEED,
    ParamSpec("logprobs", "boolean", "tell the log-probability of every token", False),
    ParamSpec("truncate", "boolean", "cut a source that is too long", False),
    STREAM,
)
TEXT_TYPES = ("application/json", "text/event-stream")
SOUND_TYPES = ("audio/wav", "audio/flac", "audio/ogg", "audio/mpeg", "audio/pcm", "application/json")
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "application/json")


def document(
    name: str,
    kind: str,
    params: Sequence[ParamSpec | Mapping[str, Any]],
    content_types: Sequence[str],
    example: Mapping[str, Any],
    **limits: int,
) -> dict[str, Any]:
    """A whole document; `limits` over the usual ones."""
    usual = {
        "max_tile": 32,
        "max_slots": 16,
        "max_queue": 112,
        "max_seconds": 60,
        "max_compute_seconds": 30,
        "max_request_bytes": 65_536,
        "max_response_bytes": 16 << 20,
    }
    given = [dataclasses.asdict(spec) if isinstance(spec, ParamSpec) else dict(spec) for spec in params]
    return {
        "format": "atelier-describe/2",
        "name": name,
        "version": "fd3a063f3f36",
        "bundle": "fd" * 32,
        "recipe": name,
        "kind": kind,
        "lane": "batch" if kind.endswith("image") else "step",
        "params": given,
        "content_types": list(content_types),
        "limits": {**usual, **limits},
        "scope": f"{'text' if content_types[0] == TEXT_TYPES[0] else content_types[0].partition('/')[0]}:generate",
        "example": dict(example),
        "source": {"checkpoint": "4c" * 32, "step": "7", "data_name": "drawn", "data_licence": "Apache-2.0"},
        "serving": {"candidate": {"generator": "fp32"}, "fingerprint": "avx2 threads-1", "reason": "reference"},
        "certificate": {"format": "atelier-certificate/1", "name": name, "step": 7, "metrics": {}},
    }


def documents() -> dict[str, dict[str, Any]]:
    """One of each sort, by name."""
    image = {"name": "image", "type": "image", "doc": "what is changed", "default": None, "minimum": None}
    image |= {"maximum": None, "choices": None, "unit": None}
    source = ParamSpec("text", "string", "what is summarized")
    messages = ParamSpec("messages", "messages", "the conversation")
    ask = {"messages": [{"role": "user", "content": "hello"}]}
    return {
        "drawn": document("drawn", "latent_image", IMAGES, IMAGE_TYPES, {"seed": 7}),
        "altered": document(
            "altered", "image_to_image", (image, *IMAGES[:1], *IMAGES[3:5]), IMAGE_TYPES, {}, max_pixels=1 << 20
        ),
        "digits": document(
            "digits", "latent_audio", SOUNDS, SOUND_TYPES, {"label": "7"}, max_audio_seconds=30, rate=16_000
        ),
        "told": document("told", "step_text", PROMPT, TEXT_TYPES, {"prompt": "It was"}, max_prompt_bytes=1024),
        "chat": document("chat", "seq2seq", (messages, *DECODING), TEXT_TYPES, ask, max_source=256),
        "summary": document("summary", "seq2seq", (source, *DECODING), TEXT_TYPES, {"text": "long"}, max_source=256),
    }
