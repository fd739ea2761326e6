"""What to save of an answer of sounds: each as a file to play, and a picture of it beside."""

from __future__ import annotations

import base64
import json
from pathlib import Path

EXTENSIONS = {
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/ogg": "ogg",
    "audio/pcm": "wav",  # raw samples play nowhere: they get a header
}


def sound_files(content_type: str, body: bytes, stem: Path) -> dict[Path, bytes]:
    """Files by path for an answer of one sound, or of JSON with several; none for any other answer.

    Raises `ValueError` for what says that it is a sound and is none.
    `content_type` is the whole of it, with its parameters: raw samples have their rate there.
    """
    found: dict[Path, bytes] = {}
    for number, (kind, data) in enumerate(sounds := _sounds(content_type, body)):
        name = stem.with_name(stem.name + (f"-{number}" if len(sounds) > 1 else ""))
        extension = EXTENSIONS.get(kind.partition(";")[0])
        if extension is None:
            continue
        from handlers.media import sound_picture, wav  # numpy and its like are of no use to the launcher

        try:
            wave, rate = sound_picture.read(data, kind)
        except sound_picture.UnreadableSoundError as error:
            raise ValueError(f"the answer is no sound: {error}") from None
        head = wav.header(rate, 2, f"Atelier {stem.name}", len(data)) if kind.startswith("audio/pcm") else b""
        found[name.with_name(f"{name.name}.{extension}")] = head + data
        found[name.with_name(f"{name.name}.png")] = sound_picture.picture(wave, rate)
    return found


def _sounds(content_type: str, body: bytes) -> list[tuple[str, bytes]]:
    """(content type, bytes) of each sound."""
    if content_type.startswith("audio/"):
        return [(content_type, body)]
    if content_type.partition(";")[0] != "application/json":
        return []
    document = json.loads(body)
    kind = document.get("content_type", "") if isinstance(document, dict) else ""
    if not kind.startswith("audio/"):
        return []
    return [(kind, base64.b64decode(entry["b64_json"])) for entry in document["data"]]
