"""A sample of a WaveNet by a step with rings, and by its whole receptive field: equal samples, and their times.

Dimensions: T samples.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from benchmarks.audio_served import whole
from handlers.bundle import Bundle
from training import checkpoint
from training.models.wavenet import SILENCE, decode
from training.wavenet import load_generator
from training.wavenet_conditions import of_class

CHECKED = 128  # samples that are drawn both ways
RUNS = 20  # of the whole field
SECONDS = 1.0  # of the sound whose time is taken with rings
LEVEL_16 = 2**15 - 1


def cached_over_recomputed(name: str, bundle: Bundle) -> dict[str, Any]:
    """How many times as long a sample takes by the whole field in PyTorch as by the served engine with its rings.

    Raises `RuntimeError` where the two do not draw the same samples at temperature 0, where nothing is drawn by chance.
    """
    _, network = load_generator(checkpoint.directory(name))
    model = network.config
    asked = {"seed": 1, "label": model.classes[0], "temperature": 0.0, "seconds": SECONDS, "format": "pcm"}
    began = time.perf_counter()
    found = np.frombuffer(whole(bundle, asked), "<i2")  # (T,)
    cached = (time.perf_counter() - began) / len(found)
    told = of_class(model, 0, len(found))[None]
    levels = torch.full((1, 1), SILENCE)
    with torch.inference_mode():
        for at in range(CHECKED):
            frames = at // model.frame + 1
            padded = torch.full((1, frames * model.frame), SILENCE)
            padded[:, : at + 1] = levels
            scores = network(padded, told[:, :frames])[:, at]
            levels = torch.cat([levels, scores.argmax(dim=1, keepdim=True)], dim=1)
        drawn = np.rint(decode(levels[0, 1:]).double().numpy() * LEVEL_16).astype(np.int16)
        if not np.array_equal(drawn, found[:CHECKED]):
            first = int((drawn != found[:CHECKED]).argmax())
            raise RuntimeError(f"sample {first} of {name} is {found[first]} with rings, {drawn[first]} without")
        frames = -(-model.field // model.frame)
        field = torch.full((1, frames * model.frame), SILENCE)
        conditions = torch.zeros(1, frames, model.inputs)
        network(field, conditions)
        began = time.perf_counter()
        for _ in range(RUNS):
            network(field, conditions)
        again = (time.perf_counter() - began) / RUNS
    return {
        "cached_over_recomputed": round(again / cached),
        "cached_us": round(cached * 1e6, 1),
        "recomputed_us": round(again * 1e6),
    }
