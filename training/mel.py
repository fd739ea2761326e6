"""Log-mel spectrograms, and how far sounds are from one another in them.

Dimensions: B waves, T samples, M = 80 bands, F frames, N clips of a set, D features of a clip.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

BANDS = 80
WINDOW = 0.032  # seconds: the next power of two of samples, and a quarter of it from frame to frame
FLOOR = 1e-4  # of a full-scale sine: -80 dB, which silence has
DECIBELS = 20.0 / math.log(10.0)  # of a natural logarithm of amplitudes
# FFT, step and window in samples: Yamamoto 2020, table 1.
RESOLUTIONS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))
_POWER_FLOOR = 1e-7
_POOLED, _PARTS = 20, 4  # bands and parts of a clip that the features of the Frechet distance have
_AT_ONCE = 64  # waves that are transformed at once: bounds the memory


def step_of(rate: int) -> int:
    """Samples from frame to frame at `rate` Hz."""
    return _window_length(rate) // 4


def log_mel(waves: Tensor, rate: int) -> Tensor:
    """Natural logarithms of mel bands: waves (B, T) in [-1, 1] at `rate` Hz -> (B, M, F), F = 1 + T // step_of(rate).

    Frames are centred, with silence around the wave. A full-scale sine is about 0, silence is ln `FLOOR`. The transform
    is twice as long as its window, so that no band is empty at any rate.
    """
    length = _window_length(rate)
    window, bands = (part.to(waves.device) for part in (_window(length), filters(rate)))
    parts = []
    for part in torch.split(waves.float(), _AT_ONCE):
        padded = torch.nn.functional.pad(part, (length, length))
        found = torch.stft(padded, 2 * length, length // 4, length, window, center=False, return_complex=True)
        parts.append((bands @ found.abs()).clamp(min=FLOOR).log())
    return torch.cat(parts)


@functools.lru_cache
def filters(rate: int) -> Tensor:
    """Triangles (M, bins) of equal width in mel = 2595 log10(1 + f / 700) from 0 Hz to half the rate, each of sum 1."""
    highest = 2595.0 * math.log10(1.0 + rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, highest, BANDS + 2, dtype=torch.float64) / 2595.0) - 1.0)
    bins = torch.linspace(0.0, rate / 2, _window_length(rate) + 1, dtype=torch.float64)
    up = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    down = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    triangles = torch.minimum(up, down).clamp(min=0.0)
    return (triangles / triangles.sum(dim=1, keepdim=True)).float()


def log_mel_distance(a: Tensor, b: Tensor) -> Tensor:
    """Distance in dB of log-mel spectrograms (B, M, F) pair by pair (B,): the mean over frames of the root mean square
    over bands (the log spectral distance of Gray and Markel 1976, in mel bands)."""
    return DECIBELS * (a - b).square().mean(dim=1).sqrt().mean(dim=1)


def features(spectrograms: Tensor) -> Tensor:
    """The features of the Frechet distance: means of 20 bands over quarters of the clip, (N, M, F) -> (N, D = 80)."""
    pooled = torch.nn.functional.adaptive_avg_pool2d(spectrograms[:, None], (_POOLED, _PARTS))
    return pooled.flatten(1).double()


def frechet(a: Tensor, b: Tensor) -> float:
    """Frechet distance of two normal distributions with the means and covariances of features (N, D) and (N', D).

    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Dowson and Landau 1982; Heusel 2017, arXiv:1706.08500, eq. 6).
    Raises `ValueError` for sets of fewer than two clips, which have no covariance.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a Frechet distance needs two clips on each side; found {len(a)} and {len(b)}")
    cov_a, cov_b = torch.cov(a.T), torch.cov(b.T)
    values, vectors = torch.linalg.eigh(cov_a)
    root = (vectors * values.clamp(min=0.0).sqrt()) @ vectors.T
    shared = torch.linalg.eigvalsh(root @ cov_b @ root).clamp(min=0.0).sqrt().sum()
    means = (a.mean(dim=0) - b.mean(dim=0)).square().sum()
    return max(0.0, float(means + cov_a.trace() + cov_b.trace() - 2.0 * shared))


def multi_resolution_stft(found: Tensor, wanted: Tensor) -> Tensor:
    """Distance of waves (B, T) to the wanted ones, a scalar to learn from: the mean over `RESOLUTIONS` of spectral
    convergence and log magnitude loss (Yamamoto 2020, "Parallel WaveGAN", arXiv:1910.11480, eq. 3 to 6)."""
    losses = [magnitude_distance(stft(found, *each), stft(wanted, *each)) for each in RESOLUTIONS]
    return torch.stack(losses).mean()


def stft(waves: Tensor, transform: int, step: int, length: int) -> Tensor:
    """Magnitudes (B, transform / 2 + 1, F) of waves (B, T)."""
    window = _hann(length).to(waves.device)
    found = torch.stft(waves.float(), transform, step, length, window, pad_mode="constant", return_complex=True)
    return (found.real.square() + found.imag.square()).clamp(min=_POWER_FLOOR).sqrt()


def magnitude_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Spectral convergence and log magnitude loss of magnitudes of one shape (eq. 4 and 5), a scalar."""
    convergence: Tensor = torch.linalg.vector_norm(wanted - found) / torch.linalg.vector_norm(wanted)
    return convergence + (wanted.log() - found.log()).abs().mean()


def _window_length(rate: int) -> int:
    return 1 << math.ceil(math.log2(WINDOW * rate))


@functools.lru_cache
def _hann(length: int) -> Tensor:
    return torch.hann_window(length)


def _window(length: int) -> Tensor:
    """A Hann window that makes the peak of a sine its amplitude."""
    return _hann(length) * (2.0 / length) * 2.0
