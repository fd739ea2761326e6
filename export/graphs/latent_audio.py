"""Clips from noise and a class: one graph `generator`, z (B, Z) float32, label (B,) int64 -> audio (B, T) float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graphs import GeneratorKind, Graph
from export.graphs import audio_schema as schema
from export.quality import audio_quality
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.params import ParamSpec
from handlers.runtimes.session import Session
from handlers.sampling.philox import normals

SLOTS = 16  # sounds of which a step makes one clip each, in one run: bounds its memory, and the wait for a first clip
MAX_SECONDS = 60
DIGITS = frozenset("0123456789")


class AudioGraph(nn.Module):
    """A generator as the exporter takes it."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, z: Tensor, label: Tensor) -> tuple[Tensor]:
        """z (B, Z), label (B,) -> audio (B, T) in [-1, 1]."""
        return (self.generator(z, label),)


def params_of(rate: int, classes: Sequence[str]) -> tuple[ParamSpec, ...]:
    """Parameters of a generator of these classes; `text` where all of them are digits."""
    text = ParamSpec("text", "string", 'digits that are said one after the other: "4 2 0 7"; in place of label')
    return (
        ParamSpec(
            "label",
            "string",
            "the class, by name or number; absent: seed mod classes",
            choices=tuple(classes),
        ),
        *((text,) if set(classes) <= DIGITS else ()),
        ParamSpec(
            "truncation", "number", "how far from the average clip: 0 is the average, 1 the full variety", 1.0, 0, 1
        ),
        *schema.params_of(rate),
    )


def describe(generator: nn.Module) -> GeneratorKind:
    """The kind of a trained generator with `config.{latent, samples, rate, classes}`."""
    config: Any = generator.config
    latent, samples, rate = int(config.latent), int(config.samples), int(config.rate)
    classes: tuple[str, ...] = config.classes

    def inputs(count: int, seed: int) -> dict[str, NDArray[Any]]:
        seeds = range(seed, seed + count)
        return {"z": normals(seeds, latent), "label": np.array(seeds, np.int64) % len(classes)}

    def render(sessions: Mapping[str, Session], count: int, seed: int) -> NDArray[np.float32]:
        rows, run = inputs(count, seed), sessions["generator"].run
        tiles = range(0, count, SLOTS)
        return np.concatenate([run({k: v[at : at + SLOTS] for k, v in rows.items()})["audio"] for at in tiles])

    spec = GraphSpec(
        inputs=(TensorSpec("z", "float32", ("batch", latent)), TensorSpec("label", "int64", ("batch",))),
        outputs=(TensorSpec("audio", "float32", ("batch", samples)),),
    )
    graph = Graph(AudioGraph(generator), spec, None, tap_tolerance=1e-3, output_tolerance=1e-3, inputs=inputs)
    return GeneratorKind(
        graphs={"generator": graph},
        params=params_of(rate, classes),
        limits=schema.limits(rate, SLOTS, MAX_SECONDS),
        content_types=schema.CONTENT_TYPES,
        scope=schema.SCOPE,
        resources=schema.resources(_memory_mb(generator, samples), SLOTS, threads=0),
        example={"seed": 7},
        render=render,
        quality=lambda wanted, found: audio_quality(wanted, found, rate),
        # A tenth of what a listener hears as a change of level (1 dB), and not twice that in the worst clip.
        budget={"log_mel_db": -1.0, "log_mel_db_worst": -2.0},
        golden_items=(
            {"seed": 0, "label": classes[0]},
            {"seed": 2**40, "label": classes[-1], "truncation": 0.5},
            {"seed": 7, "label": classes[0], "truncation": 0.0},
        ),
    )


def _memory_mb(generator: nn.Module, samples: int) -> int:
    """Memory of a worker, an upper bound in MB: interpreter, runtime, weights twice, a tile at its widest stages."""
    weights = sum(parameter.numel() for parameter in generator.parameters()) * 4
    kernels = [parameter for parameter in generator.parameters() if parameter.dim() == 3]
    width = max((int(kernel.shape[0]) for kernel in kernels[-1:]), default=1)  # of the longest hidden stage
    return 250 + (2 * weights + SLOTS * width * samples * 4 * 4) // 2**20
