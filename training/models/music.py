"""The autoencoder of `music`: windows of sound to a few numbers every 32 ms, and back.

A convolution alone repeats itself every hop: from latents that stand still it can make nothing but multiples of the hop
rate, 31 Hz. So the decoder's convolutions make strengths of carriers, one for each semitone, whose phases go on from
the beginning of a piece (as the oscillators of Engel 2020, "DDSP", arXiv:2001.04643, section 3.2), and its last
transposed convolution makes sound of them: it begins as windowed sines, the frames of an inverse Fourier transform, and
is learned like the rest. The encoder sees the same semitones, so that latents hold strengths and no phases. A short
window sees a low tone as several semitones, so what it sees is sharpened: to the powers of carriers by which it would
see the same (Richardson 1972, "Bayesian-based iterative method of image restoration").

Latents hold them relative to the tonic: the encoder counts semitones from it, and the decoder counts carriers from it.
So what is learned of one key is learned of all (scores are moved to one key for the same reason: Boulanger-Lewandowski
2012, arXiv:1206.6392, section 6), and a decoder plays latents in whatever key it is told.

Dimensions: B windows, T samples, F latent frames, C latent channels, P carriers, R = P + 11 semitones relative to the
tonic, M = 8 F coefficient frames.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tyro.conf import Fixed

from training import checks

STRIDE = 64  # samples between two coefficients
BASIS = 4 * STRIDE  # samples of a windowed sine
FINER = 8  # coefficients of a latent frame: three doublings
HOP = FINER * STRIDE  # samples of a latent frame
ANALYSIS = 2 * STRIDE  # samples between two frames of what the encoder sees
MOST_FRAMES = 2048  # latent frames that a decoder is given at once: a minute at 16 kHz
CONTEXT = 4  # latent frames on each side that a decoder hears and does not play
LOWEST_TONIC, HIGHEST_TONIC = 5, 6  # semitones from C downwards and upwards
LOWEST = 33  # MIDI pitch of the first carrier: 55 Hz
GRAIN = 8  # carriers have whole multiples of 1 / GRAIN Hz, so that their phases are exact at any time
_LONGEST, _CYCLES = 2048, 34  # samples, and cycles, that the encoder sees of a semitone at most
_QUIET = 1e-3
_SHARPENED = 10  # times
_AROUND = LOWEST_TONIC + HIGHEST_TONIC  # rows of silence on each side of what is seen


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of all networks of `music`, and what its pieces have in common. Raises `ConfigError`."""

    rate: int = 16_000
    """samples of a second"""
    pitches: int = 76
    """carriers, a semitone apart, from 55 Hz upwards"""
    noises: int = 16
    """channels of the sound that have no carrier"""
    latent: int = 32
    """channels of a latent frame"""
    channels: int = 96
    """of the autoencoder's convolutions"""
    noise: int = 4
    """random numbers that the generator takes for each phrase, chord, beat and half of a beat"""
    width: int = 128
    """channels of the generator's and the critic's convolutions"""
    truncation: float = 0.7
    """share of themselves that random numbers have in a piece: less is nearer to the middle of what was learned"""
    keys: Fixed[tuple[str, ...]] = ()
    """names of the keys, found in the data"""
    tonics: Fixed[tuple[int, ...]] = ()
    """of each key: semitones from C to its tonic, from -5 to 6; all 0 where what stands for a key is none"""
    tempos: Fixed[tuple[int, int]] = (0, 0)
    """the slowest and the fastest tempo in the data, in beats a minute"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(self.keys))
        object.__setattr__(self, "tonics", tuple(self.tonics))
        object.__setattr__(self, "tempos", tuple(self.tempos))
        checks.at_least(self, rate=8000, pitches=12, noises=1, latent=1, channels=8, noise=1, width=8)
        checks.positive(self, "truncation")
        if frequencies(self.pitches)[-1] >= self.rate / 2:
            highest = frequencies(self.pitches)[-1]
            raise checks.refuse("pitches", self.pitches, f"fewer: {highest:g} Hz is over half of the rate {self.rate}")

    @property
    def relative(self) -> int:
        """Semitones relative to a tonic: all that a carrier can be."""
        return self.pitches + LOWEST_TONIC + HIGHEST_TONIC


def frequencies(pitches: int) -> list[float]:
    """Hz of the carriers: equal temperament, to the nearest multiple of 1 / `GRAIN` Hz."""
    return [round(GRAIN * 440.0 * 2.0 ** ((LOWEST + p - 69) / 12)) / GRAIN for p in range(pitches)]


class Encoder(nn.Module):
    """Waves and their keys to latents of mean 0 and deviation `scale`; needed for training alone.

    Encoder and decoder have a straight way beside their layers, which begins as principal components
    (`music_components.py`) and gives latents their scale: how far a channel is off counts as much as it is heard. The
    layers learn what is left.
    """

    kernels: Tensor
    response: Tensor
    rows: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide = config.channels
        self.register_buffer("scale", torch.ones(config.latent, 1))
        self.register_buffer("kernels", _analysis(config), persistent=False)
        self.register_buffer("response", _response(config, self.kernels), persistent=False)
        relative = torch.arange(config.relative) + LOWEST_TONIC
        self.register_buffer(
            "rows", relative + torch.tensor(config.tonics, dtype=torch.int64)[:, None], persistent=False
        )  # (K, R)
        self.layers = nn.Sequential(
            nn.Conv1d(config.relative, wide, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(wide, wide, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.AvgPool1d(2),
            nn.Conv1d(wide, wide, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.AvgPool1d(2),
            nn.Conv1d(wide, config.latent, 3, padding=1),
        )
        self.straight = nn.Conv1d(config.relative, config.latent, 1)
        self.norm = nn.BatchNorm1d(config.latent, affine=False)
        _begin(self.layers)

    def forward(self, waves: Tensor, key: Tensor) -> Tensor:
        """waves (B, T), T a multiple of `HOP`, key (B,) -> latents (B, C, T / HOP)."""
        return self.squeeze(self.see(waves, key))

    def squeeze(self, seen: Tensor) -> Tensor:
        """Levels that `see` gives -> latents (B, C, T / HOP)."""
        latents: Tensor = self.norm(self.layers(seen) + self.straight(F.avg_pool1d(seen, HOP // ANALYSIS)))
        return latents * self.scale

    def see(self, waves: Tensor, key: Tensor) -> Tensor:
        """waves (B, T), key (B,) -> levels (B, R, M / 2) of semitones, for which nothing is learned."""
        with torch.no_grad(), torch.autocast(waves.device.type, enabled=False):
            side = (_LONGEST - ANALYSIS) // 2
            found = F.conv1d(F.pad(waves.float()[:, None], (side, side)), self.kernels, stride=ANALYSIS)
            cosines, sines = found.chunk(2, dim=1)
            levels = level(self._sharpened(cosines.square() + sines.square()).sqrt())
            levels = F.pad(levels, (0, 0, _AROUND, _AROUND))
            return levels.gather(1, self.rows[key][:, :, None].expand(-1, -1, levels.shape[2]))

    def _sharpened(self, seen: Tensor) -> Tensor:
        """Powers of semitones as a window sees them -> powers of the carriers, (B, P, M / 2) both."""
        seen = seen + _QUIET**3  # none is 0
        powers, whole = seen, self.response.sum(dim=0)[:, None]
        for _ in range(_SHARPENED):
            powers = powers * (self.response.T @ (seen / (self.response @ powers))) / whole
        return powers


class Decoder(nn.Module):
    """Latents and keys to sound."""

    within: Tensor
    rows: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide, self.relative = config.channels, config.relative
        self.layers = nn.Sequential(
            nn.Conv1d(config.latent, wide, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(wide, wide, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(wide, wide, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.ConvTranspose1d(wide, wide, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(wide, config.relative + config.noises, 1),
        )
        outputs = config.relative + config.noises
        self.straight = nn.ConvTranspose1d(config.latent, outputs, 2 * FINER, stride=FINER, padding=FINER // 2)
        _begin(self.layers)
        self.synthesis = nn.ConvTranspose1d(
            2 * config.pitches + config.noises, 1, BASIS, stride=STRIDE, padding=(BASIS - STRIDE) // 2, bias=False
        )
        with torch.no_grad():
            self.synthesis.weight[: 2 * config.pitches, 0] = _sines(config)
            self.synthesis.weight[2 * config.pitches :] *= 0.1
        within = torch.tensor(frequencies(config.pitches), dtype=torch.float64)[:, None] / config.rate
        at = torch.arange(FINER * MOST_FRAMES, dtype=torch.float64) * STRIDE + STRIDE / 2
        carriers = torch.arange(config.pitches) + HIGHEST_TONIC
        self.register_buffer(
            "rows", carriers - torch.tensor(config.tonics, dtype=torch.int64)[:, None], persistent=False
        )  # (K, P)
        self.register_buffer("within", (within * at).remainder(1.0).float(), persistent=False)  # (P, M), turns

    def forward(self, latents: Tensor, key: Tensor, turns: Tensor) -> Tensor:
        """latents (B, C, F), key (B,), turns (B, P) of the carriers at their first sample -> audio (B, T).

        T is (F - 2 CONTEXT) HOP.
        """
        audio, _ = self.played(latents, key, turns)
        return audio

    def levels(self, latents: Tensor) -> Tensor:
        """latents (B, C, F) -> levels of semitones (B, R, F), by the straight way alone: about what is played."""
        weight = self.straight.weight[:, : self.relative].sum(dim=2) / FINER  # (C, R); each level has two frames
        assert self.straight.bias is not None
        return F.conv1d(latents, weight.T[:, :, None], self.straight.bias[: self.relative])

    def strengths_parameters(self) -> list[nn.Parameter]:
        """All parameters but those of the waves."""
        return [*self.layers.parameters(), *self.straight.parameters()]

    def played(self, latents: Tensor, key: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the strengths of semitones (B, R, M), from the first frame to the last."""
        made = (self.layers(latents) + self.straight(latents)).float()  # (B, R + noises, M)
        strengths = F.softplus(-math.log(_QUIET) * (made[:, : self.relative] - 1.0))  # see `level`
        carried = strengths.gather(1, self.rows[key][:, :, None].expand(-1, -1, made.shape[2]))  # (B, P, M)
        phases = 2.0 * math.pi * (turns[:, :, None] + self.within[:, : made.shape[2]])
        parts = [carried * torch.cos(phases), carried * torch.sin(phases), made[:, self.relative :]]
        with torch.autocast(latents.device.type, enabled=False):
            audio: Tensor = torch.tanh(self.synthesis(torch.cat(parts, dim=1)))
        return audio[:, 0, CONTEXT * HOP : -CONTEXT * HOP], strengths


def _begin(layers: nn.Sequential) -> None:
    """Weights with which layers neither weaken nor strengthen (He 2015, arXiv:1502.01852), the last one all but 0."""
    convolutions = [layer for layer in layers if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)]
    for layer in convolutions:
        nn.init.kaiming_normal_(layer.weight, 0.2)
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    with torch.no_grad():
        convolutions[-1].weight *= 0.1


def level(strengths: Tensor) -> Tensor:
    """Amplitudes on a scale of logarithms: about 0 for silence, 1 for full scale."""
    return (strengths + _QUIET).log() / -math.log(_QUIET) + 1.0


def turns_at(samples: Tensor, config: ModelConfig) -> Tensor:
    """Phases of the carriers at the samples (B,) of a piece, in turns (B, P) from 0 to 1."""
    cycles = torch.tensor([round(GRAIN * hertz) for hertz in frequencies(config.pitches)])  # each GRAIN seconds
    period = GRAIN * config.rate
    return ((samples[:, None] * cycles) % period).double().div(period).float()


def _tonics(config: ModelConfig) -> Tensor:
    return torch.tensor(config.tonics, dtype=torch.int64)[:, None]


def _sines(config: ModelConfig) -> Tensor:
    """Cosines, then sines (2 P, BASIS) of the carriers under a window whose overlapping copies add up to 1."""
    at = torch.arange(BASIS, dtype=torch.float64) - BASIS / 2
    window = torch.hann_window(BASIS, periodic=True, dtype=torch.float64) * 2 * STRIDE / BASIS
    angles = 2.0 * math.pi * torch.tensor(frequencies(config.pitches), dtype=torch.float64)[:, None] / config.rate * at
    return torch.cat([window * angles.cos(), -window * angles.sin()]).float()


def _analysis(config: ModelConfig) -> Tensor:
    """Kernels (2 P, 1, T) of a constant-Q transform (Brown 1991), none longer than `_LONGEST` samples."""
    kernels = torch.zeros(2 * config.pitches, 1, _LONGEST, dtype=torch.float64)
    for row, hertz in enumerate(frequencies(config.pitches)):
        length = min(_LONGEST, int(_CYCLES * config.rate / hertz)) // 2 * 2
        window = torch.hann_window(length, periodic=True, dtype=torch.float64)
        at = torch.arange(length, dtype=torch.float64) - length / 2
        angles = 2.0 * math.pi * hertz / config.rate * at
        begin = (_LONGEST - length) // 2
        kernels[row, 0, begin : begin + length] = window * angles.cos() * 4 / length
        kernels[config.pitches + row, 0, begin : begin + length] = window * angles.sin() * 4 / length
    return kernels.float()


def _response(config: ModelConfig, kernels: Tensor) -> Tensor:
    """The power (P, P) that each semitone sees of each carrier at full scale."""
    at = torch.arange(_LONGEST) - _LONGEST / 2
    angles = 2.0 * math.pi * torch.tensor(frequencies(config.pitches))[:, None] / config.rate * at
    cosines, sines = kernels[:, 0].chunk(2)
    parts = [window @ wave.T for window in (cosines, sines) for wave in (angles.cos(), angles.sin())]
    return torch.stack(parts).square().sum(dim=0) / 2
