"""Evaluation of generators of sound: samples to look at and to listen to, and how far they are from real clips.

A generated clip has no original. So the distances of pairs (log-mel, multi-resolution STFT) are those to the nearest
held-out clip of its class, the Frechet distance is that of the whole sets, and floors are the same figures of real
clips that were learned from.

Dimensions: B clips, T samples.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import files, hearing, mel
from training.data import SoundSet, digits
from training.hearing import Hearing, Lesson, Sounds, Thing
from training.pictures import plot_sounds

SHOWN = 10  # clips of a picture and of a WAV file
COMPARED = 64  # clips compared while training
COMPARED_FINALLY = 500
DIGIT = "digit"  # what is heard in the spoken world
CLASS = "class"  # what is heard in other sets
_LEARNED = 1_000  # clips of the world that the classifier learns from
_HEARD = 0.25  # seconds that a clip must have at least for a word to be heard in it
_PAIRS = 128  # clips whose multi-resolution distance is taken
_MOST_HELD, _MOST_LEARNED = 1_000, 4_000  # clips of large sets that are compared with, and that a classifier reads
_GAP = 0.25  # seconds between the clips of a WAV file

Sample = Callable[[NDArray[np.int64], int], Tensor]  # labels (B,), seed -> waves (B, T) in [-1, 1]


def evaluate(sample: Sample, data: SoundSet, seed: int, path: Path, count: int = COMPARED) -> dict[str, float]:
    """Save a picture of clips as `path` (.png) and the clips as a WAV file beside it; returns `distances`.

    Labels come one after the other and noise follows from `seed`: they are the same at every step.
    """
    labels = np.arange(count) % len(data.classes)
    waves = sample(labels, seed + 1).float().cpu()
    shown = waves[:SHOWN]
    titles = [data.classes[label] for label in labels[:SHOWN]]
    plot_sounds(shown.numpy(), mel.log_mel(shown, data.rate).numpy(), data.rate, titles, path)
    save_wav(shown, data.rate, path.with_suffix(".wav"))
    return distances(waves, labels, data)


def evaluate_finally(
    sample: Sample, data: SoundSet, seed: int, heard_by: Hearing | None = None, count: int = COMPARED_FINALLY
) -> dict[str, float]:
    """`distances` of more clips and their floors, and as `class_accuracy` in how many of them `heard_by` hears the
    class that was asked for."""
    labels = np.arange(count) % len(data.classes)
    waves = sample(labels, seed + 2).float().cpu()
    figures = distances(waves, labels, data)
    real = _spread(data.learned, count)
    floors = distances(torch.from_numpy(data.waves(real, waves.shape[1])), data.labels[real], data)
    figures |= {f"{name}_floor": value for name, value in floors.items()}
    if heard_by is not None:
        name = heard_by.lesson.things[0].name
        figures["class_accuracy"] = round(hearing.share_right(heard_by, waves, {name: labels})[name], 4)
        figures["hearing_accuracy"] = round(heard_by.accuracy[name], 4)
    return figures


def distances(waves: Tensor, labels: NDArray[np.int64], data: SoundSet) -> dict[str, float]:
    """How far clips (B, T) of classes (B,) are from the held-out clips of `data`.

    `log_mel_db` and `mrstft`: the means over clips of the distance to the nearest held-out one of the class (nearest
    by log-mel; a class without one is left out); `frechet`: of the whole sets, where both have two clips.
    """
    held = _spread(data.held_out, _MOST_HELD)
    real = torch.from_numpy(data.waves(held, waves.shape[1]))
    found, wanted = mel.log_mel(waves, data.rate), mel.log_mel(real, data.rate)
    nearest: list[tuple[int, int]] = []
    near: list[float] = []
    for at, label in enumerate(labels):
        of_class = np.flatnonzero(data.labels[held] == label)
        if len(of_class):
            all_of = mel.log_mel_distance(found[at : at + 1], wanted[torch.from_numpy(of_class)])
            nearest.append((at, int(of_class[int(all_of.argmin())])))
            near.append(float(all_of.min()))
    figures: dict[str, float] = {}
    if nearest:
        figures["log_mel_db"] = round(float(np.mean(near)), 3)
        ours, theirs = (torch.tensor(side) for side in zip(*nearest[:_PAIRS], strict=True))
        figures["mrstft"] = round(float(mel.multi_resolution_stft(waves[ours], real[theirs])), 4)
    if min(len(waves), len(real)) > 1:
        figures["frechet"] = round(mel.frechet(mel.features(found), mel.features(wanted)), 3)
    return figures


def hearing_of(data: SoundSet, length: int, cache: Path = hearing.CACHE) -> Hearing | None:
    """The classifier of the classes of `data` in clips of `length` samples; None where there is one class alone, or
    clips are too short to hold a word.

    Of the spoken world it is trained on that world alone, whatever part of it is learned from; of files on the clips
    that are learned from, and it may hear them badly: `hearing_accuracy` says how well. Raises `HearingError`.
    """
    rate = data.rate
    if length < _HEARD * rate:
        return None
    if data.classes == digits.CLASSES and data.source == digits.SOURCE:
        name = f"spoken-digits-v{digits.VERSION}-{rate}hz-{length}-{_LEARNED}"
        things = (Thing(DIGIT, len(data.classes)),)

        def world() -> tuple[Sounds, Sounds]:
            return _material(digits.sound_set(rate, length, _LEARNED), length, DIGIT)

        return hearing.trained(Lesson(name, rate, things, world), cache)
    if len(data.classes) < 2:
        return None
    things = (Thing(CLASS, len(data.classes)),)
    lesson = Lesson(f"{data.sha256}-{length}", rate, things, lambda: _material(data, length, CLASS))
    return hearing.trained(lesson, cache, wanted=0.0)


def _material(data: SoundSet, length: int, thing: str) -> tuple[Sounds, Sounds]:
    """The clips to learn from, and those to measure on."""
    learned, kept = (
        Sounds(data.waves(indexes, length), {thing: data.labels[indexes]})
        for indexes in (_spread(data.learned, _MOST_LEARNED), _spread(data.held_out, _MOST_HELD))
    )
    return learned, kept


def _spread(indexes: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of them, evenly spread: files stand in the order of their names, often by class."""
    if len(indexes) <= most:
        return indexes
    return indexes[np.arange(most) * len(indexes) // most]


def save_wav(waves: Tensor, rate: int, path: Path) -> None:
    """Clips (B, T) one after the other in a WAV file of 16 bits."""
    gap = torch.zeros(len(waves), round(_GAP * rate))
    row = torch.cat([waves.clamp(-1, 1), gap], dim=1).flatten().numpy()
    buffer = io.BytesIO()
    soundfile.write(buffer, row, rate, format="WAV", subtype="PCM_16")
    files.write(path, buffer.getvalue())
