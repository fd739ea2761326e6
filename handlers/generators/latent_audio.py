"""Clips of sound from noise and a class (wavegan): one graph, z (B, Z) and label (B,) in, audio (B, T) out.

A sound is one clip, or the clips of a text of digits one after the other, each faded into the next. A step makes the
next clip of every live sound; each follows from its own seed, place and class alone.

Dimensions: B clips in a tile, Z latent, T samples of a clip, P clips of a sound.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.audio import spoken
from handlers.audio.crossfade import FADE_SECONDS, Crossfade, joined
from handlers.audio.params import AudioParams, common
from handlers.audio.preview import Sounds
from handlers.audio.slots import AudioSlot
from handlers.generator import Model, Request
from handlers.limits import AudioLimits
from handlers.params import check_all
from handlers.refusals import Refusal
from handlers.runtimes.session import Session
from handlers.sampling import philox

ROLE = "generator"
STREAM = 3  # of the random numbers: other generators draw from other ones


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClipParams(AudioParams):
    """The checked parameters of one request; the fields are the request's own names, but for those of AudioParams."""

    label: str | None
    text: str | None
    truncation: float
    labels: tuple[tuple[int, ...], ...]
    """of each sound, the classes of its clips (n, P)"""

    def public(self) -> dict[str, Any]:
        """The honoured parameters; not what follows from them."""
        values = super().public()
        del values["labels"]
        return values


class ClipSlot(AudioSlot[ClipParams]):
    """A request whose sounds are in the making."""

    def __init__(self, params: ClipParams, tool: str, z: NDArray[np.float32], samples: int, overlap: int) -> None:
        super().__init__(params, tool)
        self.z = z  # (n, P, Z)
        self.place = 0  # of the next clip
        self._joins = [Crossfade((samples,) * z.shape[1], overlap) for _ in params.seeds]

    def add(self, clips: NDArray[np.float32]) -> None:
        """The next clip of every sound (n, T)."""
        for index, (join, clip) in enumerate(zip(self._joins, clips, strict=True)):
            self.write(index, join.add(self.place, 0, clip))
        self.place += 1
        if self.place == self.z.shape[1]:
            for index in range(self.params.n):
                self.end(index)


class LatentAudio:
    """StepGenerator over the role `generator`: z (B, Z) float32, label (B,) int64 -> audio (B, T) float32."""

    def __init__(self, model: Model, sessions: Mapping[str, Session]) -> None:
        self._limits = limits = model.limits_as(AudioLimits)
        self._specs = model.params
        self._session = sessions[ROLE]
        spec = model.graphs[ROLE]
        self._latent, self._samples = int(spec.inputs[0].shape[1]), int(spec.outputs[0].shape[1])
        self._classes: tuple[str, ...] = next(spec.choices or () for spec in model.params if spec.name == "label")
        self._overlap = round(FADE_SECONDS * limits.rate)
        self._tool = f"Atelier {model.name} {model.version}"
        self.capacity = self._free = limits.max_slots

    @property
    def free(self) -> int:
        """How many more sounds there is room for."""
        return self._free

    def parse(self, request: Request) -> ClipParams:
        """Check one request. Raises `Refusal`."""
        values = check_all(spoken.named(request.params, self._classes), self._specs)
        label, text = values.pop("label"), values.pop("text", None)
        truncation, asked = values.pop("truncation"), spoken.said(label, text, self._classes)
        samples = joined(self._samples, len(asked or (0,)), self._overlap)
        self._check_length(samples, asked)
        values = common(values, self._limits, samples)
        count, first = values["n"], values["seed"]
        labels = [asked or ((first + i) % len(self._classes),) for i in range(count)]
        if asked is None and count == 1:
            label = self._classes[labels[0][0]]
        return ClipParams(**values, label=label, text=text, truncation=truncation, labels=tuple(labels))

    def start(self, batch: Sequence[ClipParams]) -> list[ClipSlot]:
        """A slot per request. Raises `ValueError` for more sounds than there is room for."""
        wanted = sum(params.rows for params in batch)
        if wanted > self._free:
            raise ValueError(f"{wanted} sounds for {self._free} free rows")
        noise = self._noise(batch)
        sizes = self._samples, self._overlap
        slots = [ClipSlot(params, self._tool, z, *sizes) for params, z in zip(batch, noise, strict=True)]
        self._free -= wanted
        return slots

    def step(self, slots: Sequence[ClipSlot]) -> None:
        """Every unfinished sound of `slots` gets its next clip. Nothing changes if this raises."""
        slots = [slot for slot in slots if slot.finished is None]
        z = np.concatenate([slot.z[:, slot.place] for slot in slots])
        said = [labels[slot.place] for slot in slots for labels in slot.params.labels]
        clips = self._clips(z, np.array(said, np.int64))
        at = 0
        for slot in slots:
            slot.add(clips[at : at + slot.params.n])
            at += slot.params.n
            if slot.ended:
                self._leave(slot, "stop")

    def drain(self, slot: ClipSlot) -> bytes:
        """New bytes of a stream; else all sounds, once they are finished."""
        return slot.drain()

    def cancel(self, slot: ClipSlot) -> None:
        """Forget a slot that is not finished."""
        if slot.finished is None:
            self._leave(slot, "cancelled")

    def golden(self, params: Mapping[str, Any]) -> str:
        """sha256 of the samples of the clips of one sound, before they are joined, in hex."""
        checked = self.parse(Request(params))
        (z,) = self._noise([checked])
        return hashlib.sha256(self._clips(z[0], np.array(checked.labels[0])).tobytes()).hexdigest()

    def preview(self, seeds: Sequence[int]) -> Sounds:
        """One clip per seed at full variety, of one class after the other."""
        z = philox.normals(seeds, self._latent, STREAM)
        clips = self._clips(z, np.arange(len(seeds)) % len(self._classes))
        return Sounds(tuple(clips), self._limits.rate)

    def _leave(self, slot: ClipSlot, reason: str) -> None:
        slot.finished = reason
        self._free += slot.params.rows

    def _check_length(self, samples: int, asked: tuple[int, ...] | None) -> None:
        """Raise `Refusal` for a text whose sound would be too long."""
        seconds = samples / self._limits.rate
        if asked is not None and len(asked) > 1 and seconds > self._limits.max_audio_seconds:
            message = f"text has {len(asked)} digits, which are {seconds:.1f} seconds of sound; the most are "
            raise Refusal(400, f"{message}{self._limits.max_audio_seconds} seconds: send fewer at a time", "text")

    def _noise(self, batch: Sequence[ClipParams]) -> list[NDArray[np.float32]]:
        """Latents (n, P, Z) of each: clip p of a seed has the numbers from p * Z on. docs/sampling.md.

        Requests of as many clips are drawn in one go: one by one that would cost more than their files.
        """
        found: dict[int, NDArray[np.float32]] = {}
        for clips in {len(params.labels[0]) for params in batch}:
            alike = [at for at, params in enumerate(batch) if len(params.labels[0]) == clips]
            seeds = [seed for at in alike for seed in batch[at].seeds]
            z = philox.normals(seeds, clips * self._latent, STREAM).reshape(-1, clips, self._latent)
            ends = np.cumsum([batch[at].n for at in alike])
            parts = np.split(z, ends[:-1])
            found |= {at: part * np.float32(batch[at].truncation) for at, part in zip(alike, parts, strict=True)}
        return [found[at] for at in range(len(batch))]

    def _clips(self, z: NDArray[np.float32], label: NDArray[np.int64]) -> NDArray[np.float32]:
        """Clips (B, T) of latents (B, Z) and labels (B,), in tiles that bound the memory of a run."""
        tile = self._limits.max_tile
        parts = [
            self._session.run({"z": z[at : at + tile], "label": label[at : at + tile]})["audio"]
            for at in range(0, len(z), tile)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
