"""A small WaveNet, its step graph as a file, and blocks of samples for it."""

from __future__ import annotations

import functools

import numpy as np
import torch

from export.graphs import GeneratorKind
from export.graphs.step_audio import describe
from export.to_onnx import onnx_from_graph
from handlers.generator import Model
from handlers.generators.step_audio import StepAudio
from handlers.graph_spec import GraphSpec
from handlers.runtimes.blocks import Block
from handlers.runtimes.session import Session, open_session
from training.models.wavenet import SILENCE, WaveNet, build
from training.models.wavenet_config import Described

DIGITS = tuple("0123456789")
CONFIG = Described(
    rate=8000, cycles=2, doublings=4, residual=6, skip=10, hidden=9, parts=4, classes=DIGITS, seconds=0.05
)  # of widths that fill no vector


def network(seed: int = 0) -> WaveNet:
    """With biases, which a fresh network has not: the file of a trained one has them all."""
    made, random = build(CONFIG, seed), torch.Generator().manual_seed(seed)
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            parameter.data.uniform_(-0.1, 0.1, generator=random)
    return made.eval()


@functools.cache
def kind() -> GeneratorKind:
    return describe(network())


def spec() -> GraphSpec:
    return kind().graphs["step"].spec


@functools.cache
def file() -> bytes:
    return onnx_from_graph(kind().graphs["step"])


@functools.cache
def session(runtime: str = "compiled", threads: int = 1) -> Session:
    return open_session(runtime, file(), spec(), threads)


def block(count: int, frames: int = 3, seed: int = 0, temperature: float = 1.0) -> Block:
    """Sounds in the midst, in rows in falling order; sound i is the same whatever the count."""
    dilations = np.array(CONFIG.dilations)
    each = [np.random.default_rng(1000 * seed + i) for i in range(count)]
    shape = (int(dilations.sum()), CONFIG.residual)
    return Block(
        samples=np.array([rng.integers(256) for rng in each]),
        times=np.array([int(rng.integers(1000)) for rng in each]),
        rings=np.stack([rng.standard_normal(shape).astype(np.float32) for rng in each][::-1]),
        rows=np.arange(count)[::-1].copy(),
        dilations=dilations,
        conditions=np.stack([rng.random((frames, CONFIG.inputs), np.float32) for rng in each]),
        uniforms=np.stack([rng.random(frames * CONFIG.frame) for rng in each]),
        temperatures=np.full(count, temperature),
    )


def silent(count: int, frames: int) -> Block:
    """The beginning of sounds."""
    made = block(count, frames)
    made.rings[:] = 0.0
    made.times[:] = 0
    made.samples[:] = SILENCE
    return made


def model() -> Model:
    return kind().model("tiny", "step_audio")


@functools.cache
def generator(runtime: str = "compiled") -> StepAudio:
    return StepAudio(model(), {"step": session(runtime)})
