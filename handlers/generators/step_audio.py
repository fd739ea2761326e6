"""Sound sample by sample (wavenet): the sample before and what the layers were given long ago in, scores and push out.

A step of the scheduler computes a block of K samples for every live sound, in one call of the session; what a sound is
follows from its own parameters and seed alone. A sound is one clip, or the clips of a text one after the other, each
begun anew and faded into the next.

Dimensions: B sounds in a step, K = F * frame samples of a block, L layers, R channels, P clips of a sound.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.audio import wave_params
from handlers.audio.crossfade import FADE_SECONDS, Crossfade
from handlers.audio.places import conditions
from handlers.audio.preview import Sounds
from handlers.audio.slots import AudioSlot
from handlers.audio.wave_params import WaveParams
from handlers.generator import Model, Request
from handlers.limits import AudioLimits
from handlers.runtimes.blocks import Block
from handlers.runtimes.session import Session
from handlers.sampling import philox

ROLE = "step"
ASSET = "wavenet"
STREAM = 4  # of the random numbers: what draws the samples of clips
FRAMES = 2  # of a block: 16 ms


class WaveSlot(AudioSlot[WaveParams]):
    """A request whose sounds are in the making; sound i computes in row `rows[i]` of the rings."""

    def __init__(self, params: WaveParams, tool: str, rows: list[int], overlap: int) -> None:
        super().__init__(params, tool)
        self.rows = rows
        self.clip, self.at = 0, 0  # the clip that is computed, and the first sample of it that is not
        self.number = 0  # of the next uniform number
        self.levels: list[int] = []  # of each sound, the sample before; none at the beginning of a clip
        self._joins = [Crossfade(params.lengths, overlap) for _ in rows]

    def add(self, levels: NDArray[np.int64], waves: NDArray[np.float32]) -> None:
        """The next samples of every sound (n, K), as levels and as waves."""
        for index, (join, wave) in enumerate(zip(self._joins, waves, strict=True)):
            self.write(index, join.add(self.clip, self.at, wave))
        self.levels = levels[:, -1].tolist()
        self.at += levels.shape[1]
        self.number += levels.shape[1]
        if self.at >= self.params.lengths[self.clip]:
            self.clip, self.at, self.levels = self.clip + 1, 0, []
        if self.clip == len(self.params.lengths):
            for index in range(self.params.n):
                self.end(index)


class StepAudio:
    """StepGenerator over the role `step`: sample (B,), past (B, L, R), condition (B, C) -> logits (B, Q), push."""

    def __init__(self, model: Model, sessions: Mapping[str, Session]) -> None:
        self._limits = limits = model.limits_as(AudioLimits)
        self._specs, self._session = model.params, sessions[ROLE]
        about = json.loads(model.asset(ASSET))
        self._dilations = np.array(about["dilations"], np.int64)
        self._frame, self._parts = int(about["frame"]), int(about["parts"])
        self._classes, self._seconds = tuple(about["classes"]), float(about["seconds"])
        self._waves = np.array(about["levels"], np.float32)  # (Q,): what each level sounds like
        self._silence = int(about["silence"])
        channels = next(int(spec.shape[2]) for spec in model.graphs[ROLE].inputs if spec.name == "past")
        self.capacity = limits.max_slots
        self._rings = np.zeros((self.capacity, int(self._dilations.sum()), channels), np.float32)
        self._free = list(range(self.capacity))
        self._overlap = round(FADE_SECONDS * limits.rate)
        self._tool = f"Atelier {model.name} {model.version}"

    @property
    def free(self) -> int:
        """How many more sounds there is room for."""
        return len(self._free)

    def parse(self, request: Request) -> WaveParams:
        """Check one request. Raises `Refusal`."""
        return wave_params.parse(request.params, self._specs, self._limits, self._classes, self._seconds)

    def start(self, batch: Sequence[WaveParams]) -> list[WaveSlot]:
        """A slot per request. Raises `ValueError` for more sounds than there is room for."""
        wanted = sum(params.rows for params in batch)
        if wanted > len(self._free):
            raise ValueError(f"{wanted} sounds for {len(self._free)} free rows")
        slots, at = [], 0
        for params in batch:
            slots.append(WaveSlot(params, self._tool, self._free[at : at + params.n], self._overlap))
            at += params.n
        del self._free[:wanted]
        return slots

    def step(self, slots: Sequence[WaveSlot]) -> None:
        """Every unfinished sound of `slots` gets its next block. Nothing changes if this raises."""
        slots = [slot for slot in slots if slot.finished is None]
        self._rings[[row for slot in slots if not slot.at for row in slot.rows]] = 0.0
        levels = self._block(slots)
        waves, at = self._waves[levels], 0
        for slot in slots:
            own = slice(at, at + slot.params.n)
            slot.add(levels[own], waves[own])
            at += slot.params.n
            if slot.ended:
                self._leave(slot, "stop")

    def drain(self, slot: WaveSlot) -> bytes:
        """New bytes of a stream; else all sounds, once they are finished."""
        return slot.drain()

    def cancel(self, slot: WaveSlot) -> None:
        """Forget a slot that is not finished."""
        if slot.finished is None:
            self._leave(slot, "cancelled")

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the levels of every block of a request, in hex."""
        digest = hashlib.sha256()
        for levels in self._levels(params):
            digest.update(levels.astype(np.uint8).tobytes())
        return digest.hexdigest()

    def preview(self, seeds: Sequence[int]) -> Sounds:
        """One clip per seed, of one class after the other."""
        waves = []
        for at, seed in enumerate(seeds):
            params = {"seed": seed, "label": self._classes[at % len(self._classes)]}
            length = self.parse(Request(params)).samples
            waves.append(self._waves[np.concatenate(self._levels(params), axis=1)[0, :length]])
        return Sounds(tuple(waves), self._limits.rate)

    def _levels(self, params: Mapping[str, Any]) -> list[NDArray[np.int64]]:
        """The levels (n, K) of every block of a request that is computed alone."""
        (slot,) = self.start([self.parse(Request(params))])
        found = []
        while slot.finished is None:
            if not slot.at:
                self._rings[slot.rows] = 0.0
            found.append(self._block([slot]))
            slot.add(found[-1], self._waves[found[-1]])
            if slot.ended:
                self._leave(slot, "stop")
        return found

    def _block(self, slots: Sequence[WaveSlot]) -> NDArray[np.int64]:
        """Levels (B, K) of the next block of every sound of `slots`, in tiles that bound a call."""
        count, tile = FRAMES * self._frame, self._limits.max_tile
        told, draws = [], []
        for slot in slots:
            params, first = slot.params, slot.at // self._frame
            length, frames = params.lengths[slot.clip], range(first, first + FRAMES)
            sizes = (len(self._classes), self._parts, length, self._frame, self._limits.rate)
            told += [conditions(labels[slot.clip], *sizes, frames) for labels in params.labels]
            draws.append(philox.uniforms(params.seeds, count, STREAM, slot.number))
        arrays: dict[str, NDArray[Any]] = {
            "samples": np.array([x for s in slots for x in s.levels or [self._silence] * len(s.rows)], np.int64),
            "times": np.array([slot.at for slot in slots for _ in slot.rows], np.int64),
            "rows": np.array([row for slot in slots for row in slot.rows], np.int64),
            "conditions": np.stack(told),
            "uniforms": np.concatenate(draws),
            "temperatures": np.array([slot.params.temperature for slot in slots for _ in slot.rows], np.float64),
        }
        parts = [
            self._session.block(
                Block(
                    rings=self._rings,
                    dilations=self._dilations,
                    **{name: array[at : at + tile] for name, array in arrays.items()},
                )
            )
            for at in range(0, len(arrays["rows"]), tile)
        ]
        return np.concatenate(parts)

    def _leave(self, slot: WaveSlot, reason: str) -> None:
        slot.finished = reason
        self._free += slot.rows
