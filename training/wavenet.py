"""Recipe of `wavenet`: sounds sample by sample, of a class, or from a log-mel spectrogram (preset `vocoder`).

van den Oord 2016 (arXiv:1609.03499). Run it with `python -m training wavenet --name NAME --preset demo`.

Dimensions: B clips of a batch, T samples of a crop, F frames, C numbers of a condition.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training import checks, evaluate_sounds, loop
from training import wavenet_conditions as conditions
from training.checkpoint import Checkpoint, Meta
from training.config import RecipeConfig
from training.data import FULL_SCALE, SoundSet
from training.data.sound_source import SoundSource
from training.data.sounds import open_sounds
from training.draws import Draws
from training.learner import AveragedNetwork
from training.loop import Figures, Work
from training.models.wavenet import LEVELS, SILENCE, WaveNet, build, encode
from training.models.wavenet_config import Described, ModelConfig
from training.run import Run, Schedule
from training.seeding import step_seed
from training.state import load_network
from training.wavenet_sampling import sample

IGNORED = -100  # a target that nothing is learned from
WARM_UP = 50  # steps in which the learning rate grows to its full size
FALL = 0.05  # what the learning rate has fallen to after `fall_steps`, where it stays
AT_ONCE = 100  # clips that are sampled at once


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SoundSource, RecipeConfig):
    """The config of the recipe."""

    model: ModelConfig = ModelConfig()
    crop: int = 8192
    """samples of a clip that are learned at once; a whole number of frames is taken"""
    longest: float = 1.0
    """seconds of a clip; --long says what becomes of longer sounds"""
    fall_steps: int = 100_000
    """steps in which the learning rate falls to a twentieth, as half a wave of a cosine"""
    jitter: float = 0.0
    """levels by which what is read is off, as a standard deviation: drawn samples are never quite those of a clip"""
    clip: float = 1.0
    """longest gradient: a longer one is scaled down to it"""
    temperature: float = 0.95
    """of the samples that are drawn to look at; a request says its own"""
    judged: int = 100
    """clips that the last figures are taken of"""

    def __post_init__(self) -> None:
        SoundSource.__post_init__(self)
        RecipeConfig.__post_init__(self)
        checks.at_least(self, crop=self.model.frame, fall_steps=1, judged=1, jitter=0)
        checks.positive(self, "longest", "clip", "temperature")


PRESETS = {
    "tiny": Config(
        model=ModelConfig(rate=8000, cycles=1, doublings=4, residual=8, skip=16, hidden=16, parts=4),
        world_size=64,
        crop=512,
        longest=0.1,
        batch_size=4,
        judged=10,
        ema_half_life_kitems=0.02,
    ),
    "demo": Config(
        model=ModelConfig(rate=8000),
        precision="fp32",  # the written gradient, which is faster than layers in mixed precision
        batch_size=2,
        crop=2048,
        longest=0.8,
        world_size=1_000,
        voices=1,
        learning_rate=16e-3,
        fall_steps=1_200,
        ema_half_life_kitems=0.1,
        judged=200,
    ),
    "paper": Config(
        model=ModelConfig(cycles=3, residual=128, skip=256, hidden=128), batch_size=8, crop=16384, world_size=20_000
    ),
    "vocoder": Config(
        model=ModelConfig(rate=8000, condition="mel"),
        precision="fp32",
        batch_size=2,
        crop=2048,
        longest=0.8,
        learning_rate=16e-3,
        fall_steps=1_200,
        ema_half_life_kitems=0.1,
    ),
}
SCHEDULES = {
    "tiny": Schedule(steps=4, save_every=2, sample_every=2, log_every=1),
    "demo": Schedule(steps=1_200, max_minutes=2.5, save_every=600, sample_every=2_000),
    "paper": Schedule(steps=200_000, sample_every=10_000),
    "vocoder": Schedule(steps=1_200, max_minutes=2.5, save_every=600, sample_every=2_000),
}


def rate_factor(step: int, fall_steps: int) -> float:
    """What the learning rate is multiplied by at a step, counted from 1."""
    falling = 0.5 + 0.5 * math.cos(math.pi * min(1.0, step / fall_steps))
    return min(1.0, step / WARM_UP) * (FALL + (1.0 - FALL) * falling)


def crops(
    data: SoundSet, model: Described, crop: int, batch_size: int, seed: int, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The level before each sample (B, T), conditions (B, F, C) and the samples (B, T) of the crops of one step.

    A quarter of a crop too much on either side of a clip makes its edges as frequent as its middle. In a crop from the
    middle of a clip the layers see zeros where the clip goes on, so nothing is learned from its first quarter, or
    before the receptive field is full. In every other one that part is silence: a sound that has died away by chance
    is to begin again where its condition says so, and real clips never show how.
    """
    draws = Draws(seed, step)
    frames = crop // model.frame
    length = frames * model.frame
    before = torch.full((batch_size, length), SILENCE)
    targets = torch.full((batch_size, length), IGNORED)
    told = torch.zeros(batch_size, frames, model.inputs)
    learned = data.learned
    for row in range(batch_size):
        index = int(learned[draws.below(len(learned))])
        wave = data.clip(index).astype(np.float32) / FULL_SCALE
        over = length // 4
        begin = max(0, draws.below(max(1, len(wave) - length + 2 * over)) - over) // model.frame * model.frame
        part = encode(torch.from_numpy(wave[begin : begin + length]))
        condition = conditions.of_clip(model, int(data.labels[index]), wave)[begin // model.frame :][:frames]
        told[row, : len(condition)] = condition
        before[row, 1 : len(part) + 1] = part[: length - 1]
        targets[row, : len(part)] = part
        if begin:
            unknown = min(over, model.field)
            targets[row, :unknown] = IGNORED
            before[row, 0] = encode(torch.tensor(float(wave[begin - 1])))
            if draws.below(2):
                before[row, : unknown + 1] = SILENCE
    return before, told, targets


def update(
    learner: AveragedNetwork[WaveNet], batch: tuple[Tensor, Tensor, Tensor], rate: float, jitter: float, step: int
) -> Figures:
    """One step on a batch of `crops` at a learning rate. Returns the loss in bits per sample."""
    before, told, targets = (tensor.to(learner.device) for tensor in batch)
    if jitter:
        random = torch.Generator().manual_seed(step_seed(learner.config.seed, step))
        off = (jitter * torch.randn(before.shape, generator=random)).round().long().to(before.device)
        before = (before + off).clamp(0, LEVELS - 1)
    learner.optimization.set_rate("network", rate)
    with learner.forward(step):
        logits = learner.network(before, told)
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    learner.learn(loss, step)
    return {"loss": float(loss.detach()) / math.log(2)}


@torch.no_grad()
def bits_per_sample(network: WaveNet, data: SoundSet, crop: int, clips: int = 32) -> float:
    """Mean loss in bits of samples of held-out clips, of whole crops from their beginning."""
    model = network.config
    nats, count = 0.0, 0
    for index in data.held_out[:clips]:
        wave = data.clip(int(index)).astype(np.float32) / FULL_SCALE
        levels = encode(torch.from_numpy(wave[:crop]))[None]
        before = F.pad(levels[:, :-1], (1, 0), value=SILENCE)
        frames = -(-levels.shape[1] // model.frame)
        told = conditions.of_clip(model, int(data.labels[index]), wave)[None, :frames]
        device = network.output.weight.device
        logits = network(before.to(device), told.to(device)).float().cpu()
        nats += float(F.cross_entropy(logits[0], levels[0], reduction="sum"))
        count += levels.shape[1]
    return round(nats / max(1, count) / math.log(2), 4)


def train(run: Run, config: Config) -> Meta:
    """Train from the last checkpoint of `run` to the end of its schedule; raises like `loop.train`."""
    return loop.train(run, config, _prepare)


def _prepare(run: Run, config: Config, device: str, _: Checkpoint | None) -> Work:
    longest = max(config.model.frame, round(config.longest * config.model.rate))
    data = open_sounds(config, config.model.rate, longest, config.batch_size, run.folder)
    usual = float(np.median(np.diff(data.starts))) / data.rate
    model = Described(**dataclasses.asdict(config.model), classes=data.classes, seconds=round(usual, 2))
    learner = AveragedNetwork.new(build(model, config.seed).to(device), config, config.clip)

    def drawn(labels: NDArray[np.int64], seed: int) -> Tensor:
        parts = [
            sample(learner.average, told(model, data, labels[at : at + AT_ONCE]), config.temperature, seed + at)
            for at in range(0, len(labels), AT_ONCE)
        ]
        return F.pad(torch.cat(parts), (0, longest))[:, :longest]

    def evaluate(step: int) -> Figures:
        path = run.sample_file(step, ".png")
        figures = evaluate_sounds.evaluate(drawn, data, config.seed, path, count=evaluate_sounds.SHOWN)
        return {**figures, "bits_per_sample": bits_per_sample(learner.average, data, longest)}

    def finish(step: int) -> Figures:
        heard_by = evaluate_sounds.hearing_of(data, longest)
        figures = evaluate_sounds.evaluate_finally(drawn, data, config.seed, heard_by, config.judged)
        return {**evaluate(step), **figures, "field_seconds": round(model.field / model.rate, 4)}

    return Work(
        data=data,
        learner=learner,
        about=f"{len(data.learned)} clips of {data.name}, {device} {learner.optimization.precision}",
        model=dataclasses.asdict(model),
        update=lambda step: update(
            learner,
            crops(data, model, config.crop, config.batch_size, config.seed, step),
            config.learning_rate * rate_factor(step, config.fall_steps),
            config.jitter,
            step,
        ),
        evaluate=evaluate,
        finish=finish,
        final="field_seconds",
        unit="crops",
        curves=("loss", "bits_per_sample"),
        right=("log_mel_db",),
    )


def told(model: Described, data: SoundSet, labels: NDArray[np.int64]) -> Tensor:
    """Conditions (B, F, C) to sample from: clips of the usual length, or the held-out clips, one after the other."""
    if model.condition == "class":
        return torch.stack([conditions.of_class(model, int(k), round(model.seconds * model.rate)) for k in labels])
    length = round(model.seconds * model.rate)
    chosen = []
    for at, label in enumerate(labels):
        of_class = data.held_out[data.labels[data.held_out] == label]
        chosen.append((of_class if len(of_class) else data.held_out)[at // len(data.classes) % max(1, len(of_class))])
    return torch.stack([conditions.of_sound(model, wave) for wave in data.waves(np.array(chosen), length)])


def load_generator(source: Path | Checkpoint) -> tuple[Meta, WaveNet]:
    """The averaged network of a checkpoint, in evaluation mode. Raises `CheckpointError`."""
    return load_network(source, lambda model: WaveNet(Described(**model)))
