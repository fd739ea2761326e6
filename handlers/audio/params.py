"""Parameters that every request for sound has, and the checks that they share."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

from handlers.limits import AudioLimits
from handlers.media import sound
from handlers.params import MAX_SEED, draw_seed
from handlers.refusals import Refusal

JSON = "application/json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class AudioParams:
    """StepParams of sounds; a kind adds its own fields. The names are the request's own, but for `samples` and `rate`.

    `common` gives the values of these fields.
    """

    seed: int
    n: int
    samples: int  # of one sound, at the model's rate, whether `seconds` or `samples` was asked
    format: str
    encoding: str | None  # of wav and flac alone
    sample_rate: int  # Hz of the file
    stream: bool
    rate: int  # Hz of the model
    smaller: ClassVar[str] = "lower seconds, samples, n or sample_rate, or ask for a format that is compressed"

    @property
    def content_type(self) -> str:
        """One sound as its file, or JSON with several."""
        return sound.content_type(self.format, self.sample_rate) if self.n == 1 else JSON

    @property
    def rows(self) -> int:
        """How many sounds it wants; a kind that computes them otherwise says so."""
        return self.n

    @property
    def seeds(self) -> range:
        """Sound i of n uses seed + i, so that each can be had alone."""
        return range(self.seed, self.seed + self.n)

    def public(self) -> dict[str, Any]:
        """The honoured parameters; where the sound was resampled, from what rate."""
        values = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        rate = values.pop("rate")
        return values if rate == self.sample_rate else {**values, "resampled_from": rate}


def samples_of(values: dict[str, Any], limits: AudioLimits, seconds: float) -> int:
    """How long a sound is asked to be, in samples at the model's rate; `seconds` where nothing is said.

    Takes `seconds` and `samples` out of the checked values. Raises `Refusal` for both, or for too long or no sound.
    """
    asked, samples = values.pop("seconds"), values.pop("samples")
    if asked is not None and samples is not None:
        raise Refusal(400, "seconds and samples are both given; leave one of them out", "samples")
    field, most = ("samples" if samples is not None else "seconds"), limits.max_audio_seconds
    if samples is None:
        samples = round((seconds if asked is None else asked) * limits.rate)
    if not 1 <= samples <= most * limits.rate:
        message = f"{samples} samples at {limits.rate} Hz are {samples / limits.rate:g} seconds"
        raise Refusal(400, f"{message}, wanted from 1 sample to {most} seconds; change {field}", field)
    return int(samples)


def common(values: dict[str, Any], limits: AudioLimits, samples: int) -> dict[str, Any]:
    """The checked `values` of one request, whose sounds have that many samples, with every field of AudioParams.

    Raises `Refusal` for what does not go together: the message names the field and the remedy.
    """
    name, n = values["format"], values["n"]
    if name not in (there := sound.available()):
        message = f"{name} is not compiled into this server's {sound.LIBRARY}; there are {', '.join(there)}"
        raise Refusal(400, message, "format")
    encodings, asked = sound.ENCODINGS.get(name, ()), values["encoding"]
    if asked is not None and asked not in encodings:
        wanted = f"one of {', '.join(encodings)}" if encodings else "none: leave it out, or use format wav or flac"
        raise Refusal(400, f"encoding is {asked}, of {name} it is {wanted}", "encoding")
    asked_rate, rates = values["sample_rate"], sound.RATES.get(name)
    rate = limits.rate if asked_rate is None else asked_rate
    if rates is not None and rate not in rates:
        whose = "" if asked_rate is not None else ", the model's own"
        message = f"sample_rate is {rate}{whose}; {name} has {', '.join(map(str, rates))}: ask for one of them"
        raise Refusal(400, message, "sample_rate")
    if n > 1 and values["stream"]:
        raise Refusal(400, f"a stream has one sound, n is {n}: leave out stream, or ask for one sound at a time", "n")
    if values["seed"] is None:
        values["seed"] = min(draw_seed(), MAX_SEED - n + 1)
    if values["seed"] + n - 1 > MAX_SEED:
        raise Refusal(400, f"seed + n - 1 is over {MAX_SEED}; sound i of n uses seed + i: lower the seed", "seed")
    encoding = asked or (encodings[0] if encodings else None)
    size = sound.plain_bytes(name, encoding, -(-samples * rate // limits.rate)) * n
    size = size * 4 // 3 if n > 1 else size  # as base64
    if size > limits.max_response_bytes:
        message = f"the answer would have {size} bytes, the limit is {limits.max_response_bytes}"
        raise Refusal(413, f"{message}: {AudioParams.smaller}")
    return {**values, "samples": samples, "encoding": encoding, "sample_rate": rate, "rate": limits.rate}
