"""Requests for sound while they are computed: their sounds so far as files, and what of them has been sent."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from handlers.audio.params import AudioParams
from handlers.media.resample import Resampler, resampled
from handlers.media.sound import CONTENT_TYPES, SoundFile

P = TypeVar("P", bound=AudioParams)


class AudioSlot(Generic[P]):
    """The slot of a request for `n` sounds. A generator subclasses it, or keeps its own state beside it.

    In a step it calls `write` for each sound, and `end` after a sound's last samples. Each piece is resampled and
    encoded when it is written, so that neither costs more at once than a small share of the step that made the piece.
    A sound that cannot be encoded raises in `drain`, so the others in the step go on. Once all sounds have ended, the
    generator gives back its rows and sets `finished`.
    """

    def __init__(self, params: P, tool: str) -> None:
        self.params = params
        self.finished: str | None = None  # set by the generator: "stop", "cancelled"
        self.items = 0  # samples so far, of all sounds, at the model's rate
        self._error: Exception | None = None
        self._resamplers = [Resampler(params.rate, params.sample_rate) for _ in params.seeds]
        self._files = [
            SoundFile(
                params.format,
                params.encoding,
                params.sample_rate,
                tool,
                stream=params.stream,
                samples=resampled(params.samples, params.rate, params.sample_rate),
                serial=zlib.crc32(str(seed).encode()),
            )
            for seed in params.seeds
        ]
        self._open = set(range(params.n))
        self._held: list[bytes] | None = []  # of a stream: its header, until there is sound to send with it

    @property
    def seconds(self) -> float:
        """Of sound so far, all sounds together."""
        return self.items / self.params.rate

    @property
    def ended(self) -> bool:
        """Whether all sounds have ended."""
        return not self._open

    def write(self, index: int, wave: NDArray[np.float32]) -> None:
        """Append samples (T,) in [-1, 1], at the model's rate, to a sound."""
        self.items += len(wave)
        self._encode(index, wave, last=False)

    def end(self, index: int) -> None:
        """End a sound."""
        self._open.remove(index)
        self._encode(index, np.zeros(0, np.float32), last=True)

    def drain(self) -> bytes:
        """Of a stream, the bytes that are new, once there is sound among them; else all of them, once it is finished.

        Raises what the encoder raised.
        """
        if self._error is not None:
            raise self._error
        params = self.params
        if params.stream:
            return self._stream(self._files[0])
        if self.finished is None:
            return b""
        bodies = [file.take() for file in self._files]
        if params.n == 1:
            return bodies[0]
        data = [
            {"b64_json": base64.b64encode(body).decode(), "seed": seed}
            for body, seed in zip(bodies, params.seeds, strict=True)
        ]
        document = {"data": data, "content_type": CONTENT_TYPES[params.format]}
        return json.dumps(document, separators=(",", ":")).encode()

    def _stream(self, file: SoundFile) -> bytes:
        new = file.take()
        if self._held is None:
            return new
        self._held.append(new)
        if not file.sounding and self.finished is None:
            return b""
        found, self._held = b"".join(self._held), None
        return found

    def _encode(self, index: int, wave: NDArray[np.float32], last: bool) -> None:
        if self._error is not None:
            return
        file = self._files[index]
        try:
            file.write(self._resamplers[index].resample(wave, last))
            if last:
                file.close()
        except Exception as error:
            self._error = error
