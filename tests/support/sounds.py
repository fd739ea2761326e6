"""A generator of sounds without a network, for tests of what becomes of its samples: a tone for each seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from export.graphs import audio_schema
from handlers.audio.params import AudioParams, common, samples_of
from handlers.audio.slots import AudioSlot
from handlers.generator import Request
from handlers.limits import AudioLimits
from handlers.params import check_all
from tests.support.helpers import Uncertified

RATE = 16000
SPECS = (*audio_schema.params_of(RATE), *audio_schema.length_params(RATE, 0.5, 60))


def audio_limits(**limits: int) -> AudioLimits:
    """Limits of sound at RATE, the served ones but for those given."""
    return dataclasses.replace(audio_schema.limits(RATE, 4, 60), **limits)


def tone(seed: int, samples: int, begin: int = 0) -> NDArray[np.float32]:
    """Samples of a tone (T,) that rises slowly, from its sample `begin` on."""
    at = np.arange(begin, begin + samples) / RATE
    return (0.5 * np.sin(2 * np.pi * (200 + 20 * (seed % 16) + 60 * at) * at)).astype(np.float32)


class Tones(Uncertified):
    """A StepGenerator that writes `block` samples of every sound in a step."""

    def __init__(self, capacity: int = 4, block: int = 1600, limits: AudioLimits | None = None) -> None:
        self.capacity = self.free = capacity
        self._block, self._limits = block, limits or audio_limits()

    def parse(self, request: Request) -> AudioParams:
        values = check_all(request.params, SPECS)
        samples = samples_of(values, self._limits, 0.5)
        return AudioParams(**common(values, self._limits, samples))

    def start(self, batch: Sequence[AudioParams]) -> list[AudioSlot[AudioParams]]:
        self.free -= sum(params.rows for params in batch)
        return [AudioSlot(params, "Atelier tones 1") for params in batch]

    def step(self, slots: Sequence[AudioSlot[AudioParams]]) -> None:
        for slot in slots:
            params = slot.params
            begin = slot.items // params.n
            count = min(self._block, params.samples - begin)
            for index, seed in enumerate(params.seeds):
                slot.write(index, tone(seed, count, begin))
                if begin + count == params.samples:
                    slot.end(index)
            if slot.ended:
                self._leave(slot, "length")

    def drain(self, slot: AudioSlot[AudioParams]) -> bytes:
        return slot.drain()

    def cancel(self, slot: AudioSlot[AudioParams]) -> None:
        if slot.finished is None:
            self._leave(slot, "cancelled")

    def _leave(self, slot: AudioSlot[AudioParams], reason: str) -> None:
        slot.finished = reason
        self.free += slot.params.rows
