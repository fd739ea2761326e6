"""Pieces of music of any length, window by window: a generator of latents and a decoder of them.

Roles: `generator`, noise (B, Z, N), key (B,), beats (B, N) -> latents (B, C, F); `decoder`, latents (B, C, F), key
(B,), turns (B, P) -> audio (B, T). `handlers/audio/windows.py` says what a window is.
Dimensions: B windows in a step, one of every sound.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.audio.params import AudioParams, common, samples_of
from handlers.audio.preview import Sounds
from handlers.audio.slots import AudioSlot
from handlers.audio.windows import Plan
from handlers.generator import Model, Request
from handlers.limits import AudioLimits
from handlers.params import check_all
from handlers.runtimes.session import Session

GENERATOR, DECODER, ASSET = "generator", "decoder", "music"
SECONDS = 8.0  # of a piece where nothing is said
PREVIEW_SECONDS = 6.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class MusicParams(AudioParams):
    """The checked parameters of one request."""

    key: str
    tempo: float  # beats a minute


class MusicSlot(AudioSlot[MusicParams]):
    """The pieces of one request: all are at the same window."""

    def __init__(self, params: MusicParams, tool: str, key: int, plan: Plan) -> None:
        super().__init__(params, tool)
        self.key, self.window = key, 0
        self.numbers = [plan.numbers(seed, params.tempo, params.samples) for seed in params.seeds]


class WindowedAudio:
    """StepGenerator over the roles `generator` and `decoder`: one step is the next window of every piece."""

    def __init__(self, model: Model, sessions: Mapping[str, Session]) -> None:
        self._limits = limits = model.limits_as(AudioLimits)
        self._specs, self._example = model.params, model.example
        self._generator, self._decoder = sessions[GENERATOR], sessions[DECODER]
        self._tile, self.capacity = limits.max_tile, limits.max_slots
        self._tool = f"Atelier {model.name} {model.version}"
        self._plan = Plan.read(model.asset(ASSET))
        self._keys = next(spec.choices or () for spec in model.params if spec.name == "key")
        self._taken = 0

    @property
    def free(self) -> int:
        """How many more pieces there is room for."""
        return self.capacity - self._taken

    def parse(self, request: Request) -> MusicParams:
        """Check one request. Raises `Refusal`."""
        values = check_all(request.params, self._specs)
        samples = samples_of(values, self._limits, SECONDS)
        return MusicParams(**common(values, self._limits, samples))

    def start(self, batch: Sequence[MusicParams]) -> list[MusicSlot]:
        """One slot each. Raises `ValueError` for more pieces than there is room for."""
        wanted = sum(params.rows for params in batch)
        if wanted > self.free:
            raise ValueError(f"{wanted} pieces for {self.free} free places")
        slots = [MusicSlot(params, self._tool, self._keys.index(params.key), self._plan) for params in batch]
        self._taken += wanted
        return slots

    def step(self, slots: Sequence[MusicSlot]) -> None:
        """The next window of every piece of the slots. Nothing changes if this raises."""
        asked = [(slot, at) for slot in slots for at in range(slot.params.n)]
        waves = self._windows([(s.numbers[at], s.key, s.params.tempo, s.window) for s, at in asked])
        for (slot, at), wave in zip(asked, waves, strict=True):
            slot.write(at, self._plan.cut(wave, slot.window, slot.params.samples))
        for slot in slots:
            slot.window += 1
            if slot.window == self._plan.windows(slot.params.samples):
                for at in range(slot.params.n):
                    slot.end(at)
                self._end(slot, "stop")

    def drain(self, slot: MusicSlot) -> bytes:
        """New sound of a stream; of an answer that is no stream, all of it once it is finished."""
        return slot.drain()

    def cancel(self, slot: MusicSlot) -> None:
        """End the slot's pieces."""
        if slot.finished is None:
            self._end(slot, "cancelled")

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the samples before any encoder, in hex, for one piece made alone."""
        return hashlib.sha256(self._piece(self.parse(Request(params))).tobytes()).hexdigest()

    def preview(self, seeds: Sequence[int]) -> Sounds:
        """A short piece for each seed, in one key after the other."""
        pieces = []
        for number, seed in enumerate(seeds):
            key = self._keys[number * 7 % len(self._keys)]  # fifths, where there are twelve
            params = {**self._example, "seed": seed, "key": key, "seconds": PREVIEW_SECONDS}
            pieces.append(self._piece(self.parse(Request(params))))
        return Sounds(tuple(pieces), self._limits.rate)

    def _piece(self, params: MusicParams) -> NDArray[np.float32]:
        plan = self._plan
        numbers, key = plan.numbers(params.seed, params.tempo, params.samples), self._keys.index(params.key)
        windows = range(plan.windows(params.samples))
        waves = self._windows([(numbers, key, params.tempo, window) for window in windows])
        return np.concatenate(
            [plan.cut(wave, window, params.samples) for wave, window in zip(waves, windows, strict=True)]
        )

    def _windows(self, asked: Sequence[tuple[NDArray[np.float32], int, float, int]]) -> list[NDArray[np.float32]]:
        """Windows (T,) of (noise of the piece, key, tempo, number), computed in tiles that bound the memory."""
        waves: list[NDArray[np.float32]] = []
        for begin in range(0, len(asked), self._tile):
            tile = asked[begin : begin + self._tile]
            told = [self._plan.inputs(numbers, tempo, window) for numbers, _, tempo, window in tile]
            noise, beats, turns = (np.stack(part) for part in zip(*told, strict=True))
            key = np.array([key for _, key, _, _ in tile], np.int64)
            latents = self._generator.run({"noise": noise, "key": key, "beats": beats})["latents"]
            waves += list(self._decoder.run({"latents": latents, "key": key, "turns": turns})["audio"])
        return waves

    def _end(self, slot: MusicSlot, reason: str) -> None:
        slot.finished = reason
        self._taken -= slot.params.n
