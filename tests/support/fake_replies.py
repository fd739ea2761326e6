"""What the fake upstream answers by itself, in the shapes of the real one (docs/api.md)."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import io
import json
import wave
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from handlers.media.mark import SOURCE_TYPE
from handlers.text.completions import Choice, Completions

SIDE = 64  # pixels of its images
RATE = 16_000  # Hz of its sounds
WORDS = ("It ", "was ", "a ", "dark ", "night.")
LONG = 300  # characters of a parameter
SOUND_MAGIC = {"flac": b"fLaC", "ogg": b"OggS", "opus": b"OggS", "mp3": b"ID3\x04"}
SOUND_TYPE = {
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "opus": "audio/ogg; codecs=opus",
    "mp3": "audio/mpeg",
    "pcm": "audio/pcm; rate={rate}; channels=1; encoding=s16le",
}


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer: one piece, or several that are sent one by one."""

    pieces: Sequence[bytes]
    content_type: str = "application/json"
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    breaks: bool = False  # the connection ends after the last piece, without the end of the answer


def receipt(model: str, params: Mapping[str, Any]) -> dict[str, str]:
    """The header with which every answer comes; as the real one has it, long values are there by their digest alone."""
    short = {name: value if len(text := json.dumps(value)) < LONG else _digest(text) for name, value in params.items()}
    text = json.dumps({"model": model, "version": "fd3a063f3f36", "params": short})
    return {"X-Atelier-Receipt": base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")}


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def refused(status: int, message: str, field: str | None = None, **headers: str) -> Reply:
    """An error in the serving side's own shape."""
    body = json.dumps({"code": status, "type": "Refused", "message": message, "field": field}).encode()
    return Reply([body], status=status, headers={name.replace("_", "-"): value for name, value in headers.items()})


def image(params: Mapping[str, Any]) -> bytes:
    """A picture whose colour follows from its seed."""
    seed = int(params.get("seed") or 0)
    out = io.BytesIO()
    picture = Image.new("RGB", (SIDE, SIDE), (seed % 256, seed // 256 % 256, 90))
    picture.save(out, params.get("format") or "png")
    return out.getvalue()


def sound(params: Mapping[str, Any]) -> bytes:
    """A tenth of a second of silence, as a whole WAV or PCM, or the magic bytes of other formats."""
    kind, rate = params.get("format") or "wav", int(params.get("sample_rate") or RATE)
    samples = bytes(rate // 10 * 2)
    if kind == "pcm":
        return samples
    if kind != "wav":
        return bytes(SOUND_MAGIC[kind]) + samples
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples)
    return out.getvalue()


def usual(document: Mapping[str, Any], params: Mapping[str, Any]) -> Reply:
    """The answer of a model of that document's sort."""
    name, headers = document["name"], receipt(document["name"], params)
    scope = document["scope"].partition(":")[0]
    if scope == "text":
        return _text(document, params, headers)
    kind = params.get("format") or ("png" if scope == "image" else "wav")
    make = image if scope == "image" else sound
    content_type = f"image/{kind}" if scope == "image" else SOUND_TYPE[kind]
    content_type = content_type.format(rate=params.get("sample_rate") or RATE)
    n, seed = params.get("n") or 1, params.get("seed") or 0
    if n > 1:
        files = [{"b64_json": base64.b64encode(make({**params, "seed": seed + i})).decode()} for i in range(n)]
        data = [{**file, "seed": seed + i} for i, file in enumerate(files)]
        return Reply([json.dumps({"data": data, "content_type": content_type}).encode()], headers=headers)
    whole = make(params)
    pieces = [whole[:1000], whole[1000:]] if params.get("stream") else [whole]
    return Reply(pieces, content_type, headers=headers | {"X-Name": name})


def _text(document: Mapping[str, Any], params: Mapping[str, Any], headers: dict[str, str]) -> Reply:
    chat = any(spec["name"] == "messages" for spec in document["params"])
    writer, seed = Completions(document["name"], chat), int(params.get("seed") or 0)
    count, n = min(len(WORDS), params.get("max_tokens") or 256), params.get("n") or 1
    words = WORDS[:count]
    reason = "stop" if count == len(WORDS) else "length"
    logprobs = [(word, -0.5) for word in words] if params.get("logprobs") else None
    if not params.get("stream"):
        choices = [Choice(i, "".join(words), reason, logprobs) for i in range(n)]
        return Reply([writer.whole(choices, 3, count * n, seed)], headers=headers)
    events = [
        writer.event(Choice(i, word, None, [(word, -0.5)] if logprobs else None)) for word in words for i in range(n)
    ]
    last = writer.last([Choice(i, "", reason) for i in range(n)], 3, count * n, seed)
    return Reply([*events, last], "text/event-stream", headers=headers)


__all__ = ["SOURCE_TYPE", "Reply", "image", "receipt", "refused", "sound", "usual"]
