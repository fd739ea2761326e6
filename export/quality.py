"""Distances of a variant's images, sounds or scores from FP32 PyTorch's, and the margin they leave to the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

from handlers.sampling.next_token import log_softmax
from training.mel import log_mel, log_mel_distance
from training.swd import sliced_wasserstein

PSNR_OF_EQUAL = 99.0  # decibels: equal images and sounds have no noise to measure
SOUNDS = 16  # compared at once
SSIM_IMAGES = 64
SSIM_WINDOW = 7
POSITIONS = 512  # compared at once: double precision of all of them would take gigabytes


def image_quality(wanted: NDArray[np.uint8], found: NDArray[np.uint8]) -> dict[str, float]:
    """Figures of `found` against `wanted`, both (N, S, S, 3) uint8. NaN cannot occur: these are the served bytes.

    PSNR per image in decibels of 255 levels; SSIM of Wang et al. 2004 (mean over the first images); the sliced
    Wasserstein distance between the two sets, 0 when they are equal.
    """
    gap = found.astype(np.float64) - wanted.astype(np.float64)
    psnr = [_psnr(float(np.mean(image**2))) for image in gap]
    ssim = [_ssim(a, b) for a, b in zip(wanted[:SSIM_IMAGES], found[:SSIM_IMAGES], strict=True)]
    distances = sliced_wasserstein(wanted, found)
    return {
        "psnr_db": round(float(np.mean(psnr)), 3),
        "psnr_db_worst": round(min(psnr), 3),
        "ssim": round(float(np.mean(ssim)), 5),
        "max_abs": float(np.abs(gap).max()),
        "mean_abs": round(float(np.abs(gap).mean()), 5),
        "swd_delta": round(sum(distances.values()) / len(distances), 3),
    }


def score_quality(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
    """Figures of next-token scores `found` against `wanted`, both (..., V), at the same positions of the same texts.

    The perplexities are expectations under `wanted`'s own distribution: `perplexity_fp32` is FP32's of the texts it
    writes, `perplexity` the variant's of the same texts, `perplexity_kept` the first over the second (1 when the
    distributions are equal).
    """
    wanted, found = (scores.reshape(-1, scores.shape[-1]) for scores in (wanted, found))  # (P, V)
    entropies, crosses = [], []
    for at in range(0, len(wanted), POSITIONS):
        log_p, log_q = (log_softmax(scores[at : at + POSITIONS]) for scores in (wanted, found))
        p = np.exp(log_p)
        entropies.append(-(p * log_p).sum(axis=1))
        crosses.append(-(p * log_q).sum(axis=1))
    entropy, cross = (float(np.concatenate(parts).mean()) for parts in (entropies, crosses))
    return {
        "greedy_agreement": round(float((wanted.argmax(axis=1) == found.argmax(axis=1)).mean()), 5),
        "perplexity_kept": round(math.exp(entropy - cross), 5),
        "perplexity": round(math.exp(cross), 4),
        "perplexity_fp32": round(math.exp(entropy), 4),
        "max_abs": round(float(np.abs(found.astype(np.float64) - wanted).max()), 5),
    }


def audio_quality(wanted: NDArray[np.float32], found: NDArray[np.float32], rate: int) -> dict[str, float]:
    """Figures of sounds `found` against `wanted`, both (N, T) in [-1, 1] at `rate` Hz: more is nearer, as in all.

    `log_mel_db` is minus the mean distance of the log-mel spectrograms (training/mel.py), so 0 when they are equal, and
    `log_mel_db_worst` that of the sound that is furthest; `snr_db` the signal-to-noise ratio of `wanted` to the
    difference. What is no number in `found` is none in the figures, which no budget lets pass.
    """
    distances, ratios = [], []
    for at in range(0, len(wanted), SOUNDS):
        pair = wanted[at : at + SOUNDS], found[at : at + SOUNDS]
        spectrograms = [log_mel(torch.from_numpy(np.ascontiguousarray(waves)), rate) for waves in pair]
        distances += log_mel_distance(*spectrograms).tolist()
        ratios += [_snr(a.astype(np.float64), b.astype(np.float64)) for a, b in zip(*pair, strict=True)]
    return {
        "log_mel_db": 0.0 - round(float(np.mean(distances)), 4),
        "log_mel_db_worst": 0.0 - round(float(np.max(distances)), 4),
        "snr_db": round(float(np.mean(ratios)), 3),
        "snr_db_worst": round(float(np.min(ratios)), 3),
        "max_abs": round(float(np.abs(found.astype(np.float64) - wanted).max()), 6),
    }


def margin(quality: Mapping[str, float], budget: Mapping[str, float]) -> float:
    """The smallest distance of a figure to its lower bound: at least 0 is inside the budget, NaN is outside."""
    gaps = [quality[name] - bound for name, bound in budget.items()]
    return math.nan if any(math.isnan(gap) for gap in gaps) else min(gaps, default=0.0)


def _ssim(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    settings = {"channel_axis": 2, "data_range": 255, "win_size": SSIM_WINDOW}
    return float(structural_similarity(a, b, **settings))  # type: ignore[no-untyped-call]


def _snr(wanted: NDArray[np.float64], found: NDArray[np.float64]) -> float:
    noise, signal = float(((found - wanted) ** 2).mean()), float((wanted**2).mean())
    if noise == 0:
        return PSNR_OF_EQUAL
    ratio = 10 * math.log10(signal / noise) if signal else -PSNR_OF_EQUAL
    return PSNR_OF_EQUAL if ratio > PSNR_OF_EQUAL else ratio  # NaN stays what it is


def _psnr(mean_square: float) -> float:
    return PSNR_OF_EQUAL if mean_square == 0 else min(PSNR_OF_EQUAL, 10 * math.log10(255.0**2 / mean_square))
