"""Parameters, limits and content types of a worker that the manifests of all kinds of sound share."""

from __future__ import annotations

from handlers.limits import AudioLimits
from handlers.manifest import Resources
from handlers.media.sound import CONTENT_TYPES as FORMATS
from handlers.media.sound import ENCODINGS
from handlers.params import MAX_SEED, ParamSpec

MAX_N = 8  # sounds of one request
MIN_RATE, MAX_RATE = 8000, 48000  # Hz
CONTENT_TYPES = (*dict.fromkeys(found.partition(";")[0] for found in FORMATS.values()), "application/json")
SCOPE = "audio:generate"


def limits(rate: int, slots: int, max_audio_seconds: int, tile: int | None = None) -> AudioLimits:
    """Limits of a model that makes sound at `rate` Hz, for `slots` sounds at once."""
    return AudioLimits(
        max_tile=tile or slots,
        max_slots=slots,
        max_queue=64,
        max_seconds=120,
        max_compute_seconds=30,
        max_request_bytes=64 * 1024,
        max_response_bytes=16 * 1024 * 1024,
        max_audio_seconds=max_audio_seconds,
        rate=rate,
    )


def resources(memory_mb: int, slots: int, threads: int = 1) -> Resources:
    """Needs of a worker on the lane `step`; memory for the sounds in the making comes on top of `memory_mb`."""
    return Resources("step", threads, memory_mb, workers=1, batch_size=slots)


def length_params(rate: int, seconds: float, max_seconds: int) -> tuple[ParamSpec, ...]:
    """`seconds` and `samples`, of which a request has one at most; without any a sound has `seconds` of them."""
    return (
        ParamSpec(
            "seconds", "number", f"how long a sound is; absent: {seconds:g}", None, 0.01, max_seconds, unit="seconds"
        ),
        ParamSpec(
            "samples",
            "integer",
            f"the same in samples at the model's own {rate} Hz",
            None,
            1,
            max_seconds * rate,
            unit="samples",
        ),
    )


def params_of(rate: int, max_n: int = MAX_N) -> tuple[ParamSpec, ...]:
    """Parameters of every request for sound: seed, n, and the file."""
    return (
        ParamSpec(
            "seed", "integer", "what the sound is drawn from; absent: drawn for you and returned", None, 0, MAX_SEED
        ),
        ParamSpec("n", "integer", "number of sounds; sound i uses seed + i", 1, 1, max_n),
        ParamSpec("format", "string", "file format of the sounds", "wav", choices=tuple(FORMATS)),
        ParamSpec(
            "encoding",
            "string",
            "of wav (default pcm_16) and flac (pcm_16 or pcm_24) alone",
            None,
            choices=ENCODINGS["wav"],
        ),
        ParamSpec(
            "sample_rate",
            "integer",
            f"of the file; absent: the model's own {rate}; any other is resampled",
            None,
            MIN_RATE,
            MAX_RATE,
            unit="Hz",
        ),
        ParamSpec("stream", "boolean", "send the sound as it is made", False),
    )
