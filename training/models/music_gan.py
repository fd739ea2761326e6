"""The GAN of `music` over the latents of its autoencoder: generator, critic, and the ears that judge both conditions.

The generator is convolutional from end to end and adds nothing at the edges, so a window of noise gives a window of
latents, and overlapping windows agree where they overlap: a piece may have any length. What it is told of a latent
frame is the key, the place in a phrase of eight beats, and random numbers that stay the same for a phrase, a chord, a
beat and half of a beat: so what changes, changes at the tempo that was asked.

Dimensions: B windows, C latent channels, F latent frames, R = `REACH`, Z = 4 `noise` channels, K keys.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from training.models.music import HOP, LOWEST, Decoder, ModelConfig

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
            spectral_norm(nn.Conv1d(inputs, wide, 5)),
            nn.LeakyReLU(_SLOPE),
            spectral_norm(nn.Conv1d(wide, wide, 5, stride=2)),
            nn.LeakyReLU(_SLOPE),
            spectral_norm(nn.Conv1d(wide, wide, 5, stride=2)),
            nn.LeakyReLU(_SLOPE),
            spectral_norm(nn.Conv1d(wide, wide, 5, stride=2)),
            nn.LeakyReLU(_SLOPE),
            spectral_norm(nn.Conv1d(wide, 1, 1)),
        )

    def forward(self, latents: Tensor, key: Tensor, beats: Tensor) -> Tensor:
        """latents (B, C, F), key (B,), beats (B, F) -> logits (B, parts)."""
        logits: Tensor = self.layers(torch.cat([latents, conditions(key, beats, self.keys)], dim=1))[:, 0]
        return logits


class Ears(nn.Module):
    """What key latents are in, and where in a beat and in a phrase each frame is; learned from real music alone."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        wide = config.width // 2
        self.layers = nn.Sequential(
            nn.Conv1d(config.latent, wide, 5),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, wide, 5, dilation=2),
            nn.LeakyReLU(_SLOPE),
            nn.Conv1d(wide, wide, 5, dilation=2),
            nn.LeakyReLU(_SLOPE),
        )
        self.classes = nn.Linear(12, len(config.keys))
        self.key, self.place = nn.Conv1d(wide, len(config.keys), 1), nn.Conv1d(wide, 2 * len(PERIODS), 1)

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """latents (B, C, F) -> logits of keys (B, K), and `waves` (B, 10, F - 2 EARS_REACH)."""
        heard = self.layers(latents)
        return self.key(heard).mean(dim=2), self.place(heard)

    def named(self, strengths: Tensor) -> Tensor:
        """Logits of keys (B, K) by the pitch classes of what the decoder plays: strengths of carriers (B, P, M)."""
        pitches = torch.arange(LOWEST, LOWEST + strengths.shape[1], device=strengths.device)
        loudness = strengths.clamp(min=1e-6).sqrt().mean(dim=2)
        classes = torch.zeros(len(strengths), 12, device=strengths.device).index_add(1, pitches % 12, loudness)
        logits: Tensor = self.classes(F.layer_norm(classes.log(), (12,)))
        return logits


EARS_REACH = 10


def conditions(key: Tensor, beats: Tensor, keys: int) -> Tensor:
    """key (B,), beats (B, F) -> (B, 10 + K, F)."""
    named = F.one_hot(key, keys).to(beats.dtype)[:, :, None].expand(-1, -1, beats.shape[1])
    return torch.cat([waves(beats), named], dim=1)


def places(tempo: Tensor, first: Tensor, frames: int, rate: int) -> Tensor:
    """Beats since the beginning of a piece (B, F), float64, in the middle of frames from `first` (B,) at a tempo."""
    at = first[:, None].double() + torch.arange(frames, dtype=torch.float64) + 0.5
    return at * (tempo.double() * HOP / (60.0 * rate))[:, None]


def held(numbers: Tensor, beats: Tensor) -> Tensor:
    """Random numbers (B, phrases, UNITS, N) of units, places (B, F) in beats from 0 -> noise (B, 4 N, F)."""
    rows = torch.arange(len(beats))[:, None]
    phrase, within = (beats / PHRASE).floor().long(), beats % PHRASE
    parts, begin = [], 0
    for level in LEVELS:
        parts.append(numbers[rows, phrase, begin + (within / level).floor().long()])  # (B, F, N)
        begin += round(PHRASE / level)
    return torch.cat(parts, dim=2).transpose(1, 2)


class Music(nn.Module):
    """What is served: a generator of latents, and a decoder of them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.generator, self.decoder = Generator(config), Decoder(config)
