"""Which bytes a caller wants in place of JSON, by the `Accept` of his request (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Mapping

JSON = "application/json"
IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
SOUNDS = {
    "audio/mpeg": "mp3",
    "audio/wav": "wav",
    "audio/x-wav": "wav",
    "audio/flac": "flac",
    "audio/ogg": "opus",
    "audio/opus": "opus",
    "audio/pcm": "pcm",
}


def wanted(accept: str | None, formats: Mapping[str, str]) -> str | None:
    """The format (a value of `formats`) that is named and preferred to JSON; None: JSON, or whatever is usual.

    `*/*`, which every client sends that does not care, asks for nothing; `image/*` asks for the first of `formats`.
    """
    best: str | None = None
    best_quality = usual = 0.0
    first = next(iter(formats))
    for item in (accept or "").split(","):
        name, quality = _read(item)
        if name == JSON:
            usual = max(usual, quality)
        kind = formats.get(name)
        if kind is None and name == f"{first.partition('/')[0]}/*":
            kind = formats[first]
        if kind is not None and quality > best_quality:
            best, best_quality = kind, quality
    return best if best_quality > usual else None


def _read(item: str) -> tuple[str, float]:
    """The media type of one item in lower case, and how much it is preferred (0 to 1)."""
    name, *parameters = (part.strip().lower() for part in item.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, min(1.0, max(0.0, float(value)))
            except ValueError:
                return name, 0.0
    return name, 1.0
