"""Recipe of `charlm`: a language model over bytes, trained to predict the next byte of short texts.

Graves 2013 (arXiv:1308.0850) for text from a recurrent network, one byte after the other. Run it with
`python -m training charlm --name NAME --preset demo`; `--cell` chooses between RNN, LSTM and GRU.

Dimensions: B rows of a batch, T bytes of a row.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from training import checks, evaluate_bytes, loop
from training.batches import drawn
from training.byte_rows import inputs_and_targets, row_spans
from training.checkpoint import Checkpoint, Meta
from training.config import RecipeConfig
from training.data import sentences
from training.data.texts import open_texts, stream
from training.learner import AveragedNetwork
from training.loop import Figures, Work
from training.models.charlm import CharLM, ModelConfig, build
from training.run import Run, Schedule
from training.state import load_network


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RecipeConfig):
    """The config of the recipe."""

    model: ModelConfig = ModelConfig()
    data: str = sentences.NAME
    """`sentences` for the written world, or files divided by commas, a folder or a .zip of files: one text per line, or
    texts divided by blank lines"""
    encoding: str | None = None
    """of the files, such as cp1252; None: UTF-8, or what a file's byte order mark says"""
    world_size: int = 20_000
    """how many texts the written world has"""
    row: int = 256
    """bytes that are learned at once: a longer text is learned in parts, of which only the first one has a beginning"""
    learning_rate: float = 3e-3
    """of Adam; at the size of `demo` an RNN learns more with a quarter of it"""
    clip: float = 0.3
    """longest gradient: a longer one is scaled down to it"""
    ema_half_life_kitems: float = 5.0
    """half-life of the averaged network, which is served, in thousands of rows"""

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.at_least(self, row=8, world_size=1)
        checks.positive(self, "clip")
        checks.encoding(self, "encoding")


PRESETS = {
    "tiny": Config(
        model=ModelConfig(embedding=16, hidden=32), world_size=64, row=64, batch_size=8, ema_half_life_kitems=0.05
    ),
    "demo": Config(
        model=ModelConfig(hidden=256, layers=1, dropout=0.0),
        batch_size=16,
        learning_rate=6e-3,
        ema_half_life_kitems=1.0,
    ),
    "paper": Config(world_size=100_000),
}
SCHEDULES = {
    "tiny": Schedule(steps=6, save_every=3, sample_every=3, log_every=1),
    "demo": Schedule(steps=5000, max_minutes=1.8, save_every=500, sample_every=1000),
    "paper": Schedule(steps=20_000),
}


def update(learner: AveragedNetwork[CharLM], inputs: Tensor, targets: Tensor, step: int) -> Figures:
    """One step on rows (B, T) int64 and their next bytes (B, T). Returns the loss in bits per byte."""
    with learner.forward(step):
        logits, _ = learner.network(inputs.to(learner.device))
    loss = F.cross_entropy(logits.float().flatten(0, 1), targets.to(learner.device).flatten())
    learner.learn(loss, step)
    return {"loss": float(loss.detach()) / math.log(2)}


def train(run: Run, config: Config) -> Meta:
    """Train from the last checkpoint of `run` to the end of its schedule; raises like `loop.train`."""
    return loop.train(run, config, _prepare)


def _prepare(run: Run, config: Config, device: str, _: Checkpoint | None) -> Work:
    data = open_texts(config.data, config.world_size, config.encoding)
    network = build(config.model, config.seed).to(device)
    learner = AveragedNetwork.new(network, config, config.clip)
    row = stream(data.texts)
    spans = row_spans(row, config.row)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        chosen = spans[drawn(len(spans), config.batch_size, config.seed, step)]
        return inputs_and_targets([row[begin:end] for begin, end in chosen])

    def evaluate(step: int) -> Figures:
        path = run.sample_file(step, ".txt")
        return evaluate_bytes.evaluate(learner.average, config.data, data.held_out, config.seed, path)

    def finish(step: int) -> Figures:
        # How much better texts are predicted that were learned from: how much was learned by heart.
        known = evaluate_bytes.bits_per_byte(learner.average, data.texts[: evaluate_bytes.JUDGED])
        return {**evaluate(step), "bits_per_byte_train": known}

    return Work(
        data=data,
        learner=learner,
        about=f"{len(data.texts)} texts of {data.name}, {device} {learner.optimization.precision}",
        model=dataclasses.asdict(config.model),
        update=lambda step: update(learner, *batch(step), step),
        evaluate=evaluate,
        finish=finish,
        final="bits_per_byte_train",
        unit="texts",
        curves=("loss", "bits_per_byte"),
    )


def load_generator(source: Path | Checkpoint) -> tuple[Meta, CharLM]:
    """The averaged network of a checkpoint, in evaluation mode. Raises `CheckpointError`."""
    return load_network(source, lambda model: CharLM(ModelConfig(**model)))
