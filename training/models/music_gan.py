"""The GAN of `music` over the latents of its autoencoder: generator, critic, and what the generator is taught with.

The generator is convolutional from end to end and adds nothing at the edges, so a window of noise gives a window of
latents, and overlapping windows agree where they overlap: a piece may have any length. What it is told of a latent
frame is the key, the place in a phrase of eight beats, and random numbers that stay the same for a phrase, a chord, a
beat and half of a beat: so what changes, changes at the tempo that was asked. The reader finds those numbers in real
latents, so that the generator can be asked for the same music again (Zhu 2017, "BicycleGAN", arXiv:1711.11586, section
3.2; Larsen 2016, arXiv:1512.09300). The ears hear the key (the auxiliary classifier of Odena 2017, arXiv:1610.09585,
which here learns from real music alone).

Dimensions: B windows, C latent channels, F latent frames, R = `REACH`, Z = 4 `noise` channels, K keys, U units.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.models.music import HIGHEST_TONIC, HOP, LOWEST, Decoder, ModelConfig

PHRASE = 8  # beats
LEVELS = (8.0, 2.0, 1.0, 0.5)  # beats that a random number stays the same
UNITS = 29  # of a phrase: one, four chords, eight beats, sixteen halves
PERIODS = (0.5, 1.0, 2.0, 4.0, 8.0)  # beats of the waves that tell the place in a phrase
_DILATIONS = (1, 2, 4, 1)
REACH = 2 * sum(_DILATIONS)  # latent frames on each side that a frame depends on
_SLOPE = 0.2


def waves(beats: Tensor) -> Tensor:
    """Places in a phrase (B, F), in beats from 0 to 8 -> (B, 10, F): for every period a wave, and one a quarter off.

    Each is two parabolas, nearly a sine.
    """
    found = []
    for period in PERIODS:
        for shift in (0.0, 0.25):
            place = beats / period + shift
            place = place - place.floor()
            found.append(16.0 * (0.5 - place) * torch.minimum(place, 1.0 - place))
    return torch.stack(found, dim=1)


class Generator(nn.Module):
    """Noise, key and places in a phrase to latents."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.keys = len(config.keys)
        inputs, wide = 4 * config.noise + 2 * len(PERIODS) + self.keys, config.width
        self.first = nn.Conv1d(inputs, wide, 1)
        self.layers = nn.ModuleList(nn.Conv1d(wide, wide, 5, dilation=d) for d in _DILATIONS)
        self.mixes = nn.ModuleList(nn.Conv1d(wide, wide, 1) for _ in _DILATIONS)
        self.last = nn.Conv1d(wide, config.latent, 1)

    def forward(self, noise: Tensor, key: Tensor, beats: Tensor) -> Tensor:
        """noise (B, Z, F + 2 R), key (B,), beats (B, F + 2 R) -> latents (B, C, F)."""
        told = conditions(key, beats, self.keys)
        hidden = F.leaky_relu(self.first(torch.cat([noise, told], dim=1)), _SLOPE)
        for layer, mix, dilation in zip(self.layers, self.mixes, _DILATIONS, strict=True):
            reach = 2 * dilation
            hidden = hidden[:, :, reach:-reach] + mix(F.leaky_relu(layer(hidden), _SLOPE))
            hidden = F.leaky_relu(hidden, _SLOPE)
        latents: Tensor = self.last(hidden)
        return latents


class Critic(nn.Module):
    """Whether latents are of real music in that key, at that place of a phrase: a logit for each part of a window."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.keys, wide = len(config.keys), config.width
        inputs = config.latent + 2 * len(PERIODS) + self.keys
        self.layers = nn.Sequential(
            nn.Conv1d(inputs, wide, 5),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, wide, 5, stride=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, wide, 5, stride=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, wide, 5, stride=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, 1, 1),
        )

    def forward(self, latents: Tensor, key: Tensor, beats: Tensor) -> Tensor:
        """latents (B, C, F), key (B,), beats (B, F) -> logits (B, parts)."""
        logits: Tensor = self.layers(torch.cat([latents, conditions(key, beats, self.keys)], dim=1))[:, 0]
        return logits


class Reader(nn.Module):
    """What the random numbers of a piece could be, by its latents; needed for training alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.keys, self.noise, wide = len(config.keys), config.noise, config.width
        self.layers = nn.Sequential(
            nn.Conv1d(config.latent + 2 * len(PERIODS) + self.keys, wide, 5, padding=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, wide, 5, padding=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, wide, 5, padding=4, dilation=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, len(LEVELS) * 2 * config.noise, 1),
        )

    def forward(self, latents: Tensor, key: Tensor, beats: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        """latents (B, C, F), key (B,), beats (B, F), places from 0, normals (B, phrases, UNITS, Z / 4) -> noise.

        The noise (B, Z, F) is drawn by the normals from what the latents tell of each unit: a normal distribution whose
        mean and deviation are those of all its frames. With it, in nats a frame, how much more that tells than a
        standard normal distribution does (Kingma 2013, arXiv:1312.6114, appendix B).
        """
        found = self.layers(torch.cat([latents, conditions(key, (beats % PHRASE).float(), self.keys)], dim=1)).float()
        read = found.unflatten(1, (len(LEVELS), 2 * self.noise)).transpose(2, 3)  # (B, 4, F, 2 Z / 4)
        places, shape = units(beats).to(latents.device), normals.shape
        rows = places.flatten(1)  # (B, 4 F)
        sums = read.new_zeros(shape[0], shape[1] * shape[2], 2 * self.noise)
        sums = sums.scatter_add(1, rows[:, :, None].expand(-1, -1, 2 * self.noise), read.flatten(1, 2))
        counts = read.new_zeros(sums.shape[:2]).scatter_add(1, rows, torch.ones_like(rows, dtype=read.dtype))
        mean, logarithm = (sums / counts.clamp(min=1.0)[:, :, None]).chunk(2, dim=2)
        logarithm = logarithm.clamp(-8.0, 4.0)  # of the variance
        more = 0.5 * (mean.square() + logarithm.exp() - 1.0 - logarithm) * (counts > 0)[:, :, None]
        drawn = mean + (0.5 * logarithm).exp() * normals.flatten(1, 2)
        return _held(drawn, places), more.sum(dim=(1, 2)).mean() / beats.shape[1]


class Ears(nn.Module):
    """Whether pitch classes are in their key, or in which of the eleven others of its mode.

    A profile (Krumhansl and Kessler 1982), one for each key, is turned to all twelve tonics.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.profiles = nn.Parameter(torch.zeros(len(config.keys), 12))

    def forward(self, levels: Tensor, key: Tensor) -> Tensor:
        """Levels of semitones relative to the tonic (B, R, F), key (B,) -> logits (B, 12): 0 is the key itself."""
        loudness = levels.clamp(min=0.0).square().mean(dim=2)
        rows = torch.arange(levels.shape[1], device=levels.device) + (LOWEST - HIGHEST_TONIC)
        classes = torch.zeros(len(levels), 12, device=levels.device).index_add(1, rows % 12, loudness)
        classes = F.layer_norm((classes + 1e-3).log(), (12,))
        turned = torch.stack([classes.roll(-tonic, dims=1) for tonic in range(12)], dim=1)  # (B, 12, 12)
        return torch.einsum("btc,bc->bt", turned, self.profiles[key])


def conditions(key: Tensor, beats: Tensor, keys: int) -> Tensor:
    """key (B,), beats (B, F) -> (B, 10 + K, F)."""
    named = F.one_hot(key, keys).to(beats.dtype)[:, :, None].expand(-1, -1, beats.shape[1])
    return torch.cat([waves(beats), named], dim=1)


def places(tempo: Tensor, first: Tensor, frames: int, rate: int) -> Tensor:
    """Beats since the beginning of a piece (B, F), float64, in the middle of frames from `first` (B,) at a tempo."""
    at = first[:, None].double() + torch.arange(frames, dtype=torch.float64) + 0.5
    return at * (tempo.double() * HOP / (60.0 * rate))[:, None]


def units(beats: Tensor) -> Tensor:
    """Places (B, F) in beats from 0 -> the number of the unit that each is in, for every level (B, 4, F)."""
    phrase, within = (beats / PHRASE).floor().long(), beats % PHRASE
    found, begin = [], 0
    for level in LEVELS:
        found.append(phrase * UNITS + begin + (within / level).floor().long())
        begin += round(PHRASE / level)
    return torch.stack(found, dim=1)


def held(numbers: Tensor, beats: Tensor) -> Tensor:
    """Random numbers (B, phrases, UNITS, N) of units, places (B, F) in beats from 0 -> noise (B, 4 N, F)."""
    return _held(numbers.flatten(1, 2), units(beats))


def _held(numbers: Tensor, places: Tensor) -> Tensor:
    """Numbers (B, U, N), units of all levels (B, 4, F) -> noise (B, 4 N, F)."""
    rows = torch.arange(len(places), device=places.device)[:, None, None]
    return numbers[rows, places].transpose(2, 3).flatten(1, 2)


class Music(nn.Module):
    """What is served: a generator of latents, and a decoder of them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.generator, self.decoder = Generator(config), Decoder(config)

    def compose(self, noise: Tensor, key: Tensor, beats: Tensor) -> Tensor:
        """What `Generator` makes of noise nearer to its mean (the truncation trick of Brock 2018, arXiv:1809.11096)."""
        latents: Tensor = self.generator(noise * self.config.truncation, key, beats)
        return latents
