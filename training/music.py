"""Recipe of `music`: an autoencoder of sound, then a GAN over its latents that is told key and tempo; one run.

Networks: `models/music.py` and `models/music_gan.py`; losses: `music_learner.py`. Run it with
`python -m training music --name NAME --preset demo`.

Dimensions: B windows of a batch, N pieces, T samples, F latent frames.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training import batches, loop
from training.checkpoint import Checkpoint, Meta
from training.data.music import open_music
from training.data.music_set import MusicSet
from training.evaluate_music import Pieces, evaluate_back, evaluate_pieces, evaluate_pieces_finally
from training.loop import Figures, Work
from training.models.music import HOP, ModelConfig
from training.models.music_gan import REACH, Music, places
from training.music_config import Config
from training.music_learner import MusicLearner
from training.run import Run, Schedule
from training.seeding import step_seed
from training.state import load_network

BEGUN_WITH = 64  # pieces whose principal components the autoencoder begins with
PRESETS = {
    "tiny": Config(
        model=ModelConfig(latent=8, channels=16, width=16, noise=1, pitches=40),
        world_size=8,
        seconds=4.0,
        batch_size=4,
        autoencoder_steps=3,
        reading_steps=1,
        autoencoder_frames=24,
        gan_frames=64,
        heard=24,
        ema_half_life_kitems=0.05,
    ),
    "demo": Config(  # within three minutes of two slow cores in FP32
        batch_size=16,
        autoencoder_steps=120,
        reading_steps=300,
        learning_rate=2e-3,
        gan_learning_rate=1e-3,
        fall_steps=800,
        ema_half_life_kitems=2.0,
    ),
    "paper": Config(
        model=ModelConfig(channels=256, width=384, latent=64),
        world_size=20_000,
        batch_size=32,
        autoencoder_steps=50_000,
    ),
}
SCHEDULES = {
    "tiny": Schedule(steps=6, save_every=3, sample_every=3, log_every=1),
    "demo": Schedule(steps=800, max_minutes=2.3, save_every=200, sample_every=1000),
    "paper": Schedule(steps=250_000),
}


class Course:
    """Batches of both phases; the latents of all pieces are computed once, when the second begins."""

    def __init__(self, config: Config, data: MusicSet, learner: MusicLearner) -> None:
        self.config, self.data, self.learner = config, data, learner
        self._latents: Tensor | None = None  # (N, C, F) of `data.learned`

    def update(self, step: int) -> Figures:
        """One step, counted from 1, of the phase that it is in."""
        config, rows = self.config, self.data.learned
        drawn = batches.drawn(len(rows), config.batch_size, config.seed, step)
        frames = int(config.seconds * self.data.rate) // HOP
        random = torch.Generator().manual_seed(step_seed(config.seed, step))
        key = torch.from_numpy(self.data.labels[rows[drawn]])
        if step == 1:
            begun = rows[:BEGUN_WITH]
            self.learner.begin(
                torch.from_numpy(self.data.waves(begun, frames * HOP)), torch.from_numpy(self.data.labels[begun])
            )
        if step <= config.autoencoder_steps:
            first = torch.randint(frames - config.autoencoder_frames + 1, (len(drawn),), generator=random)
            sound = torch.from_numpy(self._windows(rows[drawn], first.numpy(), config.autoencoder_frames))
            return self.learner.learn_sound(sound, key, first * HOP, step)
        length = config.gan_frames + 2 * REACH
        first = torch.randint(frames - length + 1, (len(drawn),), generator=random)
        latents = self._all_latents()
        windows = torch.stack(
            [latents[row, :, at : at + length] for row, at in zip(drawn, first.tolist(), strict=True)]
        )
        tempo = torch.from_numpy(self.data.tempos[rows[drawn]])
        return self.learner.learn_music(windows, key, places(tempo, first, length, self.data.rate), step)

    def _windows(self, rows: NDArray[np.int64], first: NDArray[np.int64], frames: int) -> NDArray[np.float32]:
        whole = self.data.waves(rows, frames * HOP + int(first.max()) * HOP)
        return np.stack([wave[at * HOP : (at + frames) * HOP] for wave, at in zip(whole, first, strict=True)])

    def _all_latents(self) -> Tensor:
        if self._latents is None:
            rows = self.data.learned
            length = int(self.config.seconds * self.data.rate) // HOP * HOP
            self._latents = torch.cat(
                [
                    self.learner.latents(
                        torch.from_numpy(self.data.waves(part, length)), torch.from_numpy(self.data.labels[part])
                    )
                    for part in np.array_split(rows, -(-len(rows) // 16))
                ]
            )
        return self._latents


def train(run: Run, config: Config) -> Meta:
    """Train from the last checkpoint of `run` to the end of its schedule; raises like `loop.train`."""
    return loop.train(run, config, _prepare)


def _prepare(run: Run, config: Config, device: str, resumed: Checkpoint | None) -> Work:
    model = config.model
    data = open_music(
        config.data,
        model.rate,
        config.seconds,
        config.world_size,
        config.batch_size,
        config.transpose,
        config.retime,
        run.folder,
    )
    model = dataclasses.replace(model, keys=data.classes, tonics=data.tonics, tempos=data.tempo_range)
    learner = MusicLearner(config, model, device)
    pieces = Pieces(learner.compose, learner.back, data, config.seed, config.data, config.heard)

    def evaluate(step: int) -> Figures:
        path = run.sample_file(step, ".png")
        return evaluate_back(pieces, path) if step <= config.autoencoder_steps else evaluate_pieces(pieces, path)

    return Work(
        data=data,
        learner=learner,
        about=f"{len(data.learned)} pieces of {data.name}, {device} {learner.optimization.precision}",
        model=dataclasses.asdict(model),
        update=Course(config, data, learner).update,
        evaluate=evaluate,
        finish=lambda step: {**evaluate(step), **evaluate_pieces_finally(pieces)},
        final="log_mel_db_floor",
        unit="pieces",
        curves=("stft", "levels", "back", "information", "generator", "critic", "wrong_key"),
        right=("log_mel_db",),
    )


def load_generator(source: Path | Checkpoint) -> tuple[Meta, Music]:
    """The averaged networks of a checkpoint, in evaluation mode. Raises `CheckpointError`."""
    return load_network(source, lambda model: Music(ModelConfig(**model)))
