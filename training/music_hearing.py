"""Which key and which tempo a piece has: two small classifiers, trained on the world `melodies` alone.

Key: the strengths of the twelve pitch classes, weighed by a learned profile that is turned to each key in turn. Tempo:
how much of the onsets' envelope repeats with a beat of every whole tempo, with its half, double, fourth and fourfold,
weighed by learned numbers that are the same for all tempos. Neither has more than a few dozen numbers, and neither can
be taught a key or a tempo by heart.

Dimensions: B waves, T samples, K keys, N tempos, H multiples of a beat.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training import mel
from training.data import melodies
from training.data.music_set import MusicSet
from training.seeding import seeded

TOLERANCE = 0.04  # of a tempo, within which it is heard right (Gouyon 2006, "accuracy 1")
PIECES = 300  # of the world that are learned from
_WINDOW = 4096  # samples of a spectrum
_LOWEST, _HIGHEST = 40, 90  # MIDI pitches that make the pitch classes
_MULTIPLES = (0.25, 0.5, 1.0, 2.0, 4.0)
_STEPS = 400
_AT_ONCE = 64


class Hearing(nn.Module):
    """Both classifiers; `key_accuracy` and `tempo_accuracy` are those on held-out pieces of the world."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate
        self.profile = nn.Parameter(torch.zeros(12))
        self.beats = nn.Sequential(nn.Linear(len(_MULTIPLES), 8), nn.Tanh(), nn.Linear(8, 1))
        self.key_accuracy = self.tempo_accuracy = 0.0

    def keys(self, chroma: Tensor) -> Tensor:
        """Pitch classes (B, 12) -> logits of the major keys (B, 12)."""
        return torch.stack([chroma.roll(-tonic, dims=1) @ self.profile for tonic in range(12)], dim=1)

    def tempos(self, rhythm: Tensor) -> Tensor:
        """(B, N, H) -> logits (B, N) of the tempos from `melodies.SLOWEST` upwards."""
        logits: Tensor = self.beats(rhythm)[:, :, 0]
        return logits

    @torch.no_grad()
    def heard(self, waves: Tensor) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Key (B,), 0 is C, and tempo (B,) in beats a minute, of waves (B, T) in [-1, 1]."""
        keys = self.keys(chroma(waves, self.rate)).argmax(dim=1)
        tempos = self.tempos(rhythm(waves, self.rate)).argmax(dim=1) + melodies.SLOWEST
        return keys.numpy(), tempos.double().numpy()

    def accuracies(self, waves: Tensor, keys: NDArray[np.int64], tempos: NDArray[np.float64]) -> tuple[float, float]:
        """The shares of waves whose key, and whose tempo within `TOLERANCE`, is heard as it should be."""
        found, beats = self.heard(waves)
        return float((found == keys).mean()), float((np.abs(beats / tempos - 1.0) <= TOLERANCE).mean())


@functools.cache
def trained(rate: int, seconds: float) -> Hearing:
    """The classifiers for pieces of so many seconds, trained in a few seconds on pieces of the same length."""
    world = melodies.music_set(rate, seconds, PIECES)
    with seeded(0):
        hearing = Hearing(rate)
        _train(hearing, world)
    hearing.key_accuracy, hearing.tempo_accuracy = hearing.accuracies(*_items(world, world.held_out))
    return hearing.eval()


def chroma(waves: Tensor, rate: int) -> Tensor:
    """How strong each pitch class is (B, 12), of mean 0 and variance 1: waves (B, T) in [-1, 1]."""
    spectra = torch.cat([_spectrum(part) for part in torch.split(waves.float(), _AT_ONCE)])  # (B, bins)
    hertz = torch.arange(_WINDOW // 2 + 1) * (rate / _WINDOW)
    pitches = torch.arange(_LOWEST, _HIGHEST + 1)
    centres = 440.0 * 2.0 ** ((pitches - 69) / 12.0)
    near = (1.0 - (12.0 * torch.log2(hertz.clamp(min=1.0) / centres[:, None])).abs() / 0.6).clamp(min=0.0)
    strengths = spectra @ near.T  # (B, pitches)
    classes = torch.zeros(len(waves), 12).index_add_(1, pitches % 12, strengths)
    return F.layer_norm(classes.clamp(min=1e-6).log(), (12,))


def rhythm(waves: Tensor, rate: int) -> Tensor:
    """How much onsets repeat with multiples of the beat of each tempo (B, N, H), of mean 0 and variance 1."""
    level = mel.log_mel(waves, rate)
    rises = level.diff(dim=2).clamp(min=0.0).mean(dim=1)  # (B, F)
    rises = (rises - rises.mean(dim=1, keepdim=True)) * torch.hann_window(rises.shape[1], periodic=False).sqrt()
    seconds = torch.arange(rises.shape[1]) * (mel.step_of(rate) / rate)
    tempos = torch.arange(melodies.SLOWEST, melodies.FASTEST + 1) / 60.0
    hertz = tempos[:, None] * torch.tensor(_MULTIPLES)  # (N, H)
    angles = 2.0 * math.pi * hertz.reshape(-1, 1) * seconds
    found = torch.hypot(rises @ angles.cos().T, rises @ angles.sin().T).reshape(len(waves), *hertz.shape)
    return (found - found.mean(dim=(1, 2), keepdim=True)) / found.std(dim=(1, 2), keepdim=True).clamp(min=1e-6)


def _spectrum(waves: Tensor) -> Tensor:
    window = torch.hann_window(_WINDOW)
    found = torch.stft(waves, _WINDOW, _WINDOW // 2, window=window, return_complex=True, center=True).abs()
    return found.sqrt().mean(dim=2)


def _items(world: MusicSet, rows: NDArray[np.int64]) -> tuple[Tensor, NDArray[np.int64], NDArray[np.float64]]:
    longest = int(np.diff(world.starts).max())
    return torch.from_numpy(world.waves(rows, longest)), world.labels[rows], world.tempos[rows]


def _train(hearing: Hearing, world: MusicSet) -> None:
    waves, keys, tempos = _items(world, world.learned)
    seen, repeated = chroma(waves, world.rate), rhythm(waves, world.rate)
    key, tempo = torch.from_numpy(keys), torch.from_numpy(tempos).long() - melodies.SLOWEST
    adam = torch.optim.Adam(hearing.parameters(), 0.03)
    for _ in range(_STEPS):
        loss = F.cross_entropy(hearing.keys(seen), key) + F.cross_entropy(hearing.tempos(repeated), tempo)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
