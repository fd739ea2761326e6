"""Evaluation of `music`: what the autoencoder gives back, and what is composed, to look at, to hear, and in figures.

Dimensions: B pieces, T samples.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training import evaluate_sounds, mel, music_hearing
from training.data import melodies
from training.data.music_set import MusicSet
from training.models.music import CONTEXT, HOP
from training.pictures import plot_sounds

SHOWN = 6  # pieces of a picture and a WAV file
HEARD = 48  # composed pieces whose key and tempo are listened for while training
COMPARED_FINALLY = 200


@dataclasses.dataclass(frozen=True)
class Pieces:
    """What is evaluated."""

    compose: Callable[[Tensor, Tensor, int, int], Tensor]
    """keys (B,), tempos (B,), frames, seed -> waves (B, T)"""
    back: Callable[[Tensor, Tensor], Tensor]
    """pieces (B, T), keys (B,) -> what the autoencoder makes of them, `CONTEXT` frames shorter on each side"""
    data: MusicSet
    seed: int
    world: str
    """what the data was opened as"""
    heard: int
    """pieces that are listened to at the end"""

    @property
    def frames(self) -> int:
        """Latent frames of a piece of the data."""
        return int(np.diff(self.data.starts).max()) // HOP

    def tempos(self, count: int) -> Tensor:
        """Tempos (B,), evenly over those of the data."""
        slowest, fastest = self.data.tempo_range
        return slowest + (torch.arange(count) * 37) % (fastest - slowest + 1)

    def sample(self, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]], seed: int) -> Tensor:
        """Pieces (B, T) of keys (B,)."""
        return self.compose(torch.from_numpy(labels), self.tempos(len(labels)), self.frames, seed)


def evaluate_back(pieces: Pieces, path: Path) -> dict[str, float]:
    """Figures of held-out pieces that went through the autoencoder; a picture and a WAV file of some, in pairs."""
    data = pieces.data
    rows = data.held_out[: 2 * SHOWN]
    whole = torch.from_numpy(data.waves(rows, pieces.frames * HOP))
    keys = torch.from_numpy(data.labels[rows])
    found, wanted = pieces.back(whole, keys), whole[:, CONTEXT * HOP : -CONTEXT * HOP]
    shown = torch.stack([wanted, found], dim=1).flatten(0, 1)[:SHOWN]
    _show(pieces, shown, [f"{data.classes[data.labels[row]]} {what}" for row in rows for what in ("is", "back")], path)
    distance = mel.log_mel_distance(mel.log_mel(found, data.rate), mel.log_mel(wanted, data.rate)).mean()
    return {
        "back_log_mel_db": round(float(distance), 3),
        "back_mrstft": round(float(mel.multi_resolution_stft(found, wanted)), 4),
    }


def evaluate_pieces(pieces: Pieces, path: Path) -> dict[str, float]:
    """Distances of composed pieces to held-out ones, and how often key and tempo are heard, where that is known."""
    figures = evaluate_sounds.evaluate(pieces.sample, pieces.data, pieces.seed, path, min(HEARD, pieces.heard))
    return figures | _heard(pieces, min(HEARD, pieces.heard), pieces.seed + 1)


def evaluate_pieces_finally(pieces: Pieces) -> dict[str, float]:
    """The same of more pieces, and the floors of the distances."""
    figures = evaluate_sounds.evaluate_finally(
        pieces.sample, pieces.data, pieces.seed, None, min(COMPARED_FINALLY, pieces.heard)
    )
    return figures | _heard(pieces, pieces.heard, pieces.seed + 2)


def _heard(pieces: Pieces, count: int, seed: int) -> dict[str, float]:
    """Nothing but for the built-in world, on which alone the classifiers are trained."""
    if pieces.world != melodies.NAME:
        return {}
    seconds = pieces.frames * HOP / pieces.data.rate
    hearing = music_hearing.trained(pieces.data.rate, seconds)
    labels, tempos = np.arange(count) % len(pieces.data.classes), pieces.tempos(count)
    waves = pieces.compose(torch.from_numpy(labels), tempos, pieces.frames, seed)
    keys, beats = hearing.accuracies(waves, labels, tempos.double().numpy())
    return {"music_key_accuracy": round(keys, 4), "music_tempo_accuracy": round(beats, 4)}


def _show(pieces: Pieces, waves: Tensor, titles: list[str], path: Path) -> None:
    rate = pieces.data.rate
    plot_sounds(waves.numpy(), mel.log_mel(waves, rate).numpy(), rate, titles[: len(waves)], path)
    evaluate_sounds.save_wav(waves, rate, path.with_suffix(".wav"))
