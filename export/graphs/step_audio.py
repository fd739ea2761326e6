"""Sound sample by sample: one graph `step` with its ring buffers outside of it.

sample (B,) int64, past (B, L, R), condition (B, C) -> logits (B, 256) of the next sample, push (B, L, R). Row l of
`past` is what layer l was given `dilation` samples ago, `push` what it is given now: whoever runs it keeps the rings
(handlers/runtimes/blocks.py), so that a sample costs the same whatever the receptive field.

A variant is judged along what FP32 PyTorch drew: how often both prefer the same level, the expected perplexity, and
the log-mel distance of the two waves of expected samples. What is drawn freely would differ from the first different
sample on, and say nothing.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from export.graphs import GeneratorKind, Graph
from export.graphs import audio_schema as schema
from export.quality import audio_quality, score_quality
from handlers.audio.places import conditions
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.params import ParamSpec
from handlers.runtimes.blocks import Block
from handlers.runtimes.session import Session
from handlers.sampling.philox import uniforms
from training.models.wavenet import LEVELS, SILENCE, decode

SLOTS = 16  # sounds of which a step computes a block each
MAX_SECONDS = 30
COMPARED = 16  # sounds that variants are compared along
COMPARED_FRAMES = 8
FRAMES = 2  # of a block, as in handlers/generators/step_audio.py
DIGITS = frozenset("0123456789")
TEMPERATURE = 0.95


class StepGraph(nn.Module):
    """One sample of a WaveNet, batch first in everything."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sample: Tensor, past: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """sample (B,), past (B, L, R), condition (B, C) -> logits (B, Q), push (B, L, R)."""
        results: tuple[Tensor, Tensor] = self.model.step(sample, past, condition)  # type: ignore[operator]
        return results


def params_of(rate: int, classes: tuple[str, ...], seconds: float) -> tuple[ParamSpec, ...]:
    """Parameters of a WaveNet of these classes; `text` where all of them are digits."""
    text = ParamSpec("text", "string", 'digits that are said one after the other: "4 2 0 7"; in place of label')
    return (
        ParamSpec(
            "label",
            "string",
            "the class, by name or number; absent: seed mod classes",
            choices=classes,
        ),
        *((text,) if set(classes) <= DIGITS else ()),
        ParamSpec(
            "temperature", "number", "0 always takes the likeliest level, 1 draws as the model believes", TEMPERATURE,
            0, 1.5,
        ),
        *schema.length_params(rate, seconds, MAX_SECONDS),
        *schema.params_of(rate),
    )  # fmt: skip


def describe(model: nn.Module) -> GeneratorKind:
    """The kind of a trained network with `step` and `config`: `Described` of training/models/wavenet_config.py.

    Raises `ValueError` for a vocoder, whose condition no request can say.
    """
    config: Any = model.config
    if config.condition != "class":
        raise ValueError(
            "a vocoder reads a log-mel spectrogram, which no parameter of a request holds: it is for training and "
            "listening alone; train with --condition class to serve"
        )
    graph_module = StepGraph(model).eval()
    dilations = np.array(config.dilations, np.int64)
    layers, residual, rate, frame = len(dilations), int(config.residual), int(config.rate), int(config.frame)
    usual = round(config.seconds * rate)

    def block(count: int, frames: int, seed: int) -> Block:
        """The beginning of clips of one class after the other."""
        said = np.arange(seed, seed + count) % len(config.classes)
        sizes = (len(config.classes), config.parts, usual, frame, rate, range(frames))
        return Block(
            samples=np.full(count, SILENCE),
            times=np.zeros(count, np.int64),
            rings=np.zeros((count, int(dilations.sum()), residual), np.float32),
            rows=np.arange(count),
            dilations=dilations,
            conditions=np.stack([conditions(int(label), *sizes) for label in said]),
            uniforms=uniforms(range(seed, seed + count), frames * frame),
            temperatures=np.ones(count),
        )

    @functools.cache
    def written(count: int, frames: int, seed: int) -> tuple[Block, NDArray[np.int64]]:
        """What FP32 was given, with its rings after it, and the levels (count, T) that it drew."""
        given = block(count, frames, seed)
        return given, graph.torch_session().block(given)

    def inputs(count: int, seed: int) -> dict[str, NDArray[Any]]:
        given, levels = written(count, FRAMES, seed)
        places = given.starts + levels.shape[1] % dilations
        return {
            "sample": levels[:, -1].copy(),
            "past": given.rings[:, places].copy(),
            "condition": given.conditions[:, -1].copy(),
        }

    def render(sessions: Mapping[str, Session], count: int, seed: int) -> NDArray[np.float32]:
        """Scores (count, T, Q) along what FP32 drew, of at most `COMPARED` sounds."""
        count = min(count, COMPARED)
        given, levels = written(count, COMPARED_FRAMES, seed)
        rings = np.zeros_like(given.rings)
        before = np.concatenate([np.full((count, 1), SILENCE), levels[:, :-1]], axis=1)
        scores = []
        for at in range(levels.shape[1]):
            places = given.starts + at % dilations
            condition = given.conditions[:, at // frame].copy()
            arrays = {"sample": before[:, at].copy(), "past": rings[:, places].copy(), "condition": condition}
            found = sessions["step"].run(arrays)
            rings[:, places] = found["push"]
            scores.append(found["logits"])
        return np.stack(scores, axis=1)

    def quality(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> dict[str, float]:
        figures = audio_quality(expected(wanted), expected(found), rate)
        return score_quality(wanted, found) | {name: figures[name] for name in ("log_mel_db", "log_mel_db_worst")}

    spec = GraphSpec(
        inputs=(
            TensorSpec("sample", "int64", ("batch",)),
            TensorSpec("past", "float32", ("batch", layers, residual)),
            TensorSpec("condition", "float32", ("batch", int(config.inputs))),
        ),
        outputs=(
            TensorSpec("logits", "float32", ("batch", LEVELS)),
            TensorSpec("push", "float32", ("batch", layers, residual)),
        ),
    )
    graph = Graph(graph_module, spec, None, tap_tolerance=1e-3, output_tolerance=1e-3, inputs=inputs)
    about = {
        "dilations": dilations.tolist(),
        "frame": frame,
        "parts": int(config.parts),
        "classes": list(config.classes),
        "seconds": float(config.seconds),
        "silence": SILENCE,
        "levels": [float(level) for level in decode(torch.arange(LEVELS))],
    }
    golden_seconds = round(min(config.seconds, 0.05), 3)
    return GeneratorKind(
        graphs={"step": graph},
        params=params_of(rate, tuple(config.classes), config.seconds),
        limits=schema.limits(rate, SLOTS, MAX_SECONDS),
        content_types=schema.CONTENT_TYPES,
        scope=schema.SCOPE,
        resources=schema.resources(_memory_mb(model, int(dilations.sum()) * residual), SLOTS, threads=0),
        example={"seed": 7},
        render=render,
        quality=quality,
        budget={"greedy_agreement": 0.98, "perplexity_kept": 0.99, "log_mel_db": -0.5, "log_mel_db_worst": -1.0},
        golden_items=(
            {"seed": 0, "label": config.classes[0], "seconds": golden_seconds, "temperature": 1.0},
            {"seed": 2**40, "label": config.classes[-1], "seconds": golden_seconds},
            {"seed": 7, "label": config.classes[0], "seconds": golden_seconds, "temperature": 0.0},
        ),
        blocks={"step": lambda count, seed: block(count, FRAMES, seed)},
        assets={"wavenet": json.dumps(about).encode()},
    )


def expected(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The wave (B, T) of expected samples of scores (B, T, Q)."""
    chances = torch.softmax(torch.from_numpy(scores).double(), dim=-1)
    return (chances @ decode(torch.arange(LEVELS)).double()).float().numpy()


def _memory_mb(model: nn.Module, ring: int) -> int:
    """Memory of proxy and engine, an upper bound in MB: interpreters, runtime and compiler, weights twice, rings."""
    weights = sum(parameter.numel() for parameter in model.parameters()) * 4
    return 400 + (2 * weights + SLOTS * ring * 4) // 2**20
