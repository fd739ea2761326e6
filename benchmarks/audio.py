"""Sounds: streams in real time, the first audio, classes that are heard, and stock TorchServe beside us.

`wavenet` at the demo's sizes and 16 kHz and `wavegan` at paper size have any weights: speed does not depend on them.
What is heard is heard in the demos, trained if they are absent, by classifiers trained on the same worlds alone; their
certified engines draw fresh seeds. A stream is judged by its client: from sending the request to the last byte.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import page
from benchmarks.audio_served import agreement, in_company, streams, versus_stock
from benchmarks.audio_steps import cached_over_recomputed
from benchmarks.blocks import Bench
from benchmarks.export import ensure
from handlers.bundle import Bundle
from handlers.limits import AudioLimits
from handlers.runtimes.device import machine
from training import evaluate_sounds, hearing, music_hearing
from training.data import digits, melodies

WAVENET, WAVEGAN = "bench-wavenet", "bench-wavegan"
SPEED = {
    WAVENET: ["wavenet", "--name", WAVENET, "--preset", "demo", "--rate", "16000", "--steps", "1", "--judged", "10"],
    WAVEGAN: ["wavegan", "--name", WAVEGAN, "--preset", "paper", "--steps", "1", "--batch-size", "2"],
}
DEMOS = {
    "words": ["wavegan", "--name", "words", "--preset", "demo"],
    "voice": ["wavenet", "--name", "voice", "--preset", "demo"],
    "tunes": ["music", "--name", "tunes", "--preset", "demo"],
}
PARTS = ("wavenet", "wavegan", "classes", "music")
FRESH = 500  # seeds that no training draws, one sound each
FRESH_SEED = 10_000_000
PIECES = 100  # of music, which are longer
PIECE_SECONDS = 6.0
AT_ONCE = 8  # sounds, at most what every model takes at once


def options(parser: argparse.ArgumentParser) -> None:
    """The options it has besides --quick and --json."""
    parser.add_argument("--only", choices=PARTS, help="one part alone; the other figures are null")


def run(quick: bool, only: str | None = None) -> dict[str, Any]:
    """All figures; trains and builds what is absent. What was not measured is None."""
    bench = Bench(quick)
    figures: dict[str, Any] = dict.fromkeys((
        "wavenet_rtf", "wavenet_streams_realtime", "cached_over_recomputed", "wavegan_ratio_vs_stock",
        "first_audio_ms", "class_accuracy", "music_key_accuracy", "music_tempo_accuracy",
    ))  # fmt: skip
    agreed: list[dict[str, bool]] = []
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "wavenet": lambda: _wavenet(bench, quick, agreed),
        "wavegan": lambda: _wavegan(bench, quick, agreed),
        "classes": lambda: _classes(quick),
        "music": lambda: _music(quick, agreed),
    }
    for name, measure in parts.items():
        if only in (None, name):
            figures |= measure()
    for name in ("stream_equals_whole", "batch_invariant"):
        figures[name] = all(found[name] for found in agreed) if agreed else None
    figures |= {"device_class": machine().cpu, "spreads": bench.spreads}
    worst = figures.get("wavenet_slowest", {})
    lines = {"the slowest stream": [(float(count), factor) for count, factor in worst.items()]}
    picture = page.curves(lines, "streams at once", "seconds of computing a second of sound") if worst else None
    text = "Each client sends its next request when its last stream has ended; under 1 a stream keeps up with playing."
    print(f"report: {page.write('audio', figures, [page.Section('Streams in real time', text, picture)])}")
    return figures


def _wavenet(bench: Bench, quick: bool, agreed: list[dict[str, bool]]) -> dict[str, Any]:
    bundle = ensure(WAVENET, SPEED[WAVENET], quick)
    found, same = streams(bench, bundle, quick)
    agreed.append(same)
    return {**found, **cached_over_recomputed(WAVENET, bundle)}


def _wavegan(bench: Bench, quick: bool, agreed: list[dict[str, bool]]) -> dict[str, Any]:
    bundle = ensure(WAVEGAN, SPEED[WAVEGAN], quick)
    found, same = versus_stock(bench, bundle)
    agreed.append(same)
    return found


def _classes(quick: bool) -> dict[str, Any]:
    """How often the asked digit is heard in the demos of both recipes; the smaller share is the figure."""
    shares = {}
    for name in ("words", "voice"):
        bundle = ensure(name, DEMOS[name], quick)
        rate = bundle.model().limits_as(AudioLimits).rate
        asked = [{"seed": FRESH_SEED + i, "label": digits.CLASSES[i % 10], "format": "pcm"} for i in range(FRESH)]
        waves = sounds(bundle, asked)
        length = max(map(len, waves))
        padded = torch.from_numpy(np.stack([np.pad(wave, (0, length - len(wave))) for wave in waves]))
        ears = evaluate_sounds.hearing_of(digits.sound_set(rate, length, 10), length)
        if ears is None:
            raise ValueError(f"{name} makes sounds of {length} samples, in which no word can be heard")
        labels = np.arange(FRESH) % 10
        shares[name] = round(hearing.share_right(ears, padded, {evaluate_sounds.DIGIT: labels})["digit"], 4)
    return {"class_accuracy": min(shares.values()), "class_accuracies": shares}


def _music(quick: bool, agreed: list[dict[str, bool]]) -> dict[str, Any]:
    """How often key and tempo of the demo's pieces are what was asked for."""
    bundle = ensure("tunes", DEMOS["tunes"], quick)
    agreed.append(agreement(bundle, {"seconds": 3.0}))
    keys = np.arange(PIECES) % 12
    tempos = np.linspace(melodies.SLOWEST, melodies.FASTEST, PIECES)
    names = next(spec.choices or () for spec in bundle.model().params if spec.name == "key")
    asked = [
        {"seed": FRESH_SEED + i, "key": names[key], "tempo": float(tempo), "seconds": PIECE_SECONDS, "format": "pcm"}
        for i, (key, tempo) in enumerate(zip(keys, tempos, strict=True))
    ]
    waves = torch.from_numpy(np.stack(sounds(bundle, asked)))
    ears = music_hearing.trained(bundle.model().limits_as(AudioLimits).rate, PIECE_SECONDS)
    key, tempo = ears.accuracies(waves, keys, tempos)
    return {"music_key_accuracy": round(key, 4), "music_tempo_accuracy": round(tempo, 4)}


def sounds(bundle: Bundle, asked: list[dict[str, Any]]) -> list[NDArray[np.float32]]:
    """One sound (T,) for each request for raw samples, by the served engine."""
    waves = []
    for at in range(0, len(asked), AT_ONCE):
        answers = in_company(bundle, asked[at : at + AT_ONCE])
        waves += [np.frombuffer(answer, "<i2").astype(np.float32) / 32767.0 for answer in answers]
    return waves
