"""Music by windows: graphs `generator` (noise, key and place in a phrase to latents) and `decoder` (those to sound).

Both have windows of one length, so a window is the same bits whichever piece it is of, and whatever is beside it. Where
windows overlap, the graphs compute the same latents twice: by the same numbers, as `handlers/audio/windows.py` says.

A variant is judged by the sound of windows from the middle of pieces, both graphs together.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graphs import GeneratorKind, Graph
from export.graphs.audio_schema import CONTENT_TYPES, SCOPE, length_params, limits, params_of, resources
from export.quality import audio_quality
from handlers.audio.windows import Plan
from handlers.generators.windowed_audio import SECONDS
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.params import ParamSpec
from handlers.runtimes.session import Session
from training.models.music import CONTEXT, GRAIN, HOP, ModelConfig, frequencies
from training.models.music_gan import REACH, Music

FRAMES = 32  # latent frames of a window: a second at 16 kHz
SLOTS = 16  # pieces at once
MAX_SECONDS = 120
RENDERED = 3  # windows of a piece that variants are compared by
EXAMPLE_SECONDS = 4


class GeneratorGraph(nn.Module):
    """The generator, for the exporter."""

    def __init__(self, music: Music) -> None:
        super().__init__()
        self.music = music

    def forward(self, noise: Tensor, key: Tensor, beats: Tensor) -> tuple[Tensor]:
        """noise (B, Z, N), key (B,), beats (B, N) -> latents (B, C, F)."""
        return (self.music.compose(noise, key, beats),)


class DecoderGraph(nn.Module):
    """The decoder, for the exporter."""

    def __init__(self, music: Music) -> None:
        super().__init__()
        self.decoder = music.decoder

    def forward(self, latents: Tensor, key: Tensor, turns: Tensor) -> tuple[Tensor]:
        """latents (B, C, F), key (B,), turns (B, P) -> audio (B, T)."""
        return (self.decoder(latents, key, turns),)


def plan(config: ModelConfig) -> Plan:
    """How a trained model's pieces are divided."""
    cycles = tuple(round(GRAIN * hertz) for hertz in frequencies(config.pitches))
    return Plan(HOP, FRAMES, CONTEXT, REACH, config.noise, cycles, GRAIN * config.rate, config.rate)


def params(config: ModelConfig) -> tuple[ParamSpec, ...]:
    """Parameters of a request, for the keys and tempos of the training data."""
    slowest, fastest = config.tempos
    return (
        ParamSpec("key", "string", "key of the piece", config.keys[0], choices=config.keys),
        ParamSpec(
            "tempo",
            "number",
            "of the piece, within what was learned from",
            (slowest + fastest) // 2,
            slowest,
            fastest,
            unit="beats a minute",
        ),
        *length_params(config.rate, SECONDS, MAX_SECONDS),
        *params_of(config.rate),
    )


def describe(model: nn.Module) -> GeneratorKind:
    """The kind of a trained `Music`."""
    assert isinstance(model, Music)
    config, division = model.config, plan(model.config)
    slowest, fastest = config.tempos
    generator, decoder = GeneratorGraph(model).eval(), DecoderGraph(model).eval()

    @functools.cache
    def told(count: int, seed: int, windows: int) -> dict[str, NDArray[Any]]:
        """Inputs of both graphs: `windows` of each of `count` pieces, (count * windows, ...) each."""
        found = []
        for number in range(count):
            tempo = float(slowest + (seed + number) * 37 % (fastest - slowest + 1))
            numbers = division.numbers(seed + number, tempo, windows * division.samples)
            found += [division.inputs(numbers, tempo, window) for window in range(windows)]
        noise, beats, turns = (np.stack(part) for part in zip(*found, strict=True))
        key = np.repeat((seed + np.arange(count)) % len(config.keys), windows)
        return {"noise": noise, "key": key, "beats": beats, "turns": turns}

    def generator_inputs(count: int, seed: int) -> dict[str, NDArray[Any]]:
        values = told(count, seed, 1)
        return {name: values[name] for name in ("noise", "key", "beats")}

    def decoder_inputs(count: int, seed: int) -> dict[str, NDArray[Any]]:
        values = generator_inputs(count, seed)
        with torch.inference_mode():
            (latents,) = generator(*(torch.from_numpy(value) for value in values.values()))
        return {"latents": latents.numpy(), "key": values["key"], "turns": told(count, seed, 1)["turns"]}

    def render(sessions: Mapping[str, Session], count: int, seed: int) -> NDArray[np.float32]:
        """Sounds (count, RENDERED windows)."""
        values, parts = told(count, seed, RENDERED), []
        for at in range(0, count * RENDERED, SLOTS):
            tile = {name: value[at : at + SLOTS] for name, value in values.items()}
            turns = tile.pop("turns")
            latents = sessions["generator"].run(tile)["latents"]
            parts.append(sessions["decoder"].run({"latents": latents, "key": tile["key"], "turns": turns})["audio"])
        return np.concatenate(parts).reshape(count, RENDERED * division.samples)

    latents = TensorSpec("latents", "float32", ("batch", config.latent, division.heard))
    specs = {
        "generator": GraphSpec(
            (
                TensorSpec("noise", "float32", ("batch", 4 * config.noise, division.read_frames)),
                TensorSpec("key", "int64", ("batch",)),
                TensorSpec("beats", "float32", ("batch", division.read_frames)),
            ),
            (latents,),
        ),
        "decoder": GraphSpec(
            (
                latents,
                TensorSpec("key", "int64", ("batch",)),
                TensorSpec("turns", "float32", ("batch", config.pitches)),
            ),
            (TensorSpec("audio", "float32", ("batch", division.samples)),),
        ),
    }
    return GeneratorKind(
        graphs={
            "generator": Graph(generator, specs["generator"], None, 1e-3, 1e-3, generator_inputs),
            "decoder": Graph(decoder, specs["decoder"], None, 1e-3, 1e-3, decoder_inputs),
        },
        params=params(config),
        limits=limits(config.rate, SLOTS, MAX_SECONDS),
        content_types=CONTENT_TYPES,
        scope=SCOPE,
        resources=resources(_memory_mb(model, division), SLOTS),
        example={"seed": 7, "key": config.keys[0], "tempo": (slowest + fastest) // 2, "seconds": EXAMPLE_SECONDS},
        render=render,
        quality=functools.partial(audio_quality, rate=config.rate),
        budget={"log_mel_db": -1.0, "log_mel_db_worst": -2.0},
        golden_items=tuple(
            {
                "seed": seed,
                "key": config.keys[at % len(config.keys)],
                "tempo": tempo,
                "samples": 3 * division.samples - 7,
            }
            for at, (seed, tempo) in enumerate(((0, slowest), (2**40, fastest), (7, (slowest + fastest) // 2)))
        ),
        calls={},
        assets={"music": division.write()},
    )


def _memory_mb(model: nn.Module, division: Plan) -> int:
    """Memory of proxy and engine, an upper bound in MB: interpreters, runtime, weights twice, a tile of windows."""
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    rows = SLOTS * division.heard * 8 * 4 * 512  # coefficients, before and after they are carried
    return 250 + (2 * weights + 4 * rows) // 2**20
