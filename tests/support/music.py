"""A small, untrained model of music behind sessions of PyTorch, and pieces of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from export.graphs import GeneratorKind
from export.graphs.windowed_audio import describe
from handlers.generator import Request
from handlers.generators.windowed_audio import MusicSlot, WindowedAudio
from handlers.runtimes.runtime import Arrays, FunctionGraph
from handlers.runtimes.session import Session
from training.models.music import ModelConfig
from training.models.music_gan import Music
from training.seeding import seeded

CONFIG = ModelConfig(
    latent=6,
    channels=16,
    width=16,
    noise=2,
    pitches=40,
    keys=("C", "C#", "D", "Am"),
    tonics=(0, 1, 2, -3),
    tempos=(80, 150),
)


def model(config: ModelConfig = CONFIG) -> Music:
    """Random weights, always the same, that are loud enough to hear."""
    with seeded(0):
        music = Music(config)
    with torch.no_grad():
        assert music.decoder.straight.bias is not None
        music.decoder.straight.bias += 0.3
    return music.eval()


def row_by_row(session: Session) -> Session:
    """The session with every row computed alone: PyTorch itself may compute a row otherwise beside others."""

    def run(inputs: Arrays) -> Arrays:
        count = len(next(iter(inputs.values())))
        rows = [session.run({name: array[at : at + 1] for name, array in inputs.items()}) for at in range(count)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    return Session(session.spec, FunctionGraph(run), "torch")


def generator(kind: GeneratorKind, **limits: int) -> WindowedAudio:
    """Over sessions of PyTorch, with some limits changed."""
    made = dataclasses.replace(kind, limits=dataclasses.replace(kind.limits, **limits))  # type: ignore[arg-type]
    sessions = {role: row_by_row(graph.torch_session()) for role, graph in kind.graphs.items()}
    return WindowedAudio(made.model("music", "windowed_audio"), sessions)


def described() -> GeneratorKind:
    """The kind of `model`."""
    return describe(model())


def finish(generator: WindowedAudio, slot: MusicSlot) -> bytes:
    """Step a slot alone to its end; all its bytes."""
    parts = [generator.drain(slot)]
    while slot.finished is None:
        generator.step([slot])
        parts.append(generator.drain(slot))
    return b"".join(parts)


def answer(generator: WindowedAudio, **params: Any) -> bytes:
    """What a request is answered with."""

    request: Mapping[str, Any] = {"format": "pcm", **params}
    (slot,) = generator.start([generator.parse(Request(request))])
    return finish(generator, slot)
