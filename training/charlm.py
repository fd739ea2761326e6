"""Recipe of `charlm`: a language model over bytes, trained to predict the next byte of short texts.

Graves 2013 (arXiv:1308.0850) for text from a recurrent network, one byte after the other. Run it with
`python -m training charlm --name NAME --preset demo`; `--cell` chooses between RNN, LSTM and GRU.

Dimensions: B rows of a batch, T bytes of a row.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tyro.conf import OmitArgPrefixes

from training import checkpoint, ema
from training.data import sentences
from training.data.sentences import TextSet, open_texts
from training.loop import Figures, Work, go_on, take_up
from training.models.charlm import BOUNDARY, CharLM, ModelConfig, build
from training.precision import Precision, PrecisionName, pick, pick_device
from training.run import Run, Schedule, resume_point
from training.state import (
    below,
    load_network,
    load_optimizer,
    load_scaler,
    optimizer_tensors,
    scaler_tensors,
)

SHOWN = 32  # texts in a file of samples
JUDGED = 256  # texts that are sampled and judged
TEMPERATURE = 0.7  # of the samples
LONGEST = 256  # bytes after which a sample is cut off: the written texts end well before
MEASURED = 512  # bytes of a text that bits per byte are measured on, from its beginning
IGNORED = -100  # a target that cross_entropy passes over


@dataclasses.dataclass(frozen=True)
class Config:
    """What is learned. A run resumes only with an equal config."""

    model: Annotated[ModelConfig, OmitArgPrefixes] = ModelConfig()
    data: str = sentences.NAME
    """`sentences` for the written world, or a UTF-8 file: one text per line, or texts divided by blank lines"""
    world_size: int = 20_000
    """how many texts the written world has"""
    row: int = 256
    """bytes that are learned at once: a longer text is learned in parts, of which only the first one has a beginning"""
    batch_size: int = 64
    """rows of a step"""
    learning_rate: float = 3e-3
    """of Adam; at the size of `demo` an RNN learns more with a quarter of it"""
    clip: float = 0.3
    """longest gradient: what is longer is scaled down to it"""
    ema_half_life_krows: float = 5.0
    """half-life of the averaged network, in thousands of rows"""
    precision: PrecisionName = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that have it, else fp32"""
    seed: int = 0

    def __post_init__(self) -> None:
        for field, least in (("batch_size", 1), ("row", 8), ("world_size", 1), ("seed", 0)):
            if getattr(self, field) < least:
                found = getattr(self, field)
                raise ValueError(f"--{field.replace('_', '-')} is {found}, wanted at least {least}")
        for field in ("learning_rate", "clip"):
            if getattr(self, field) <= 0:
                raise ValueError(f"--{field.replace('_', '-')} is {getattr(self, field)}, wanted more than 0")


PRESETS = {
    "tiny": Config(ModelConfig(embedding=16, hidden=32), world_size=64, row=64, batch_size=8, ema_half_life_krows=0.05),
    "demo": Config(
        ModelConfig(hidden=256, layers=1, dropout=0.0), batch_size=16, learning_rate=6e-3, ema_half_life_krows=1.0
    ),
    "paper": Config(world_size=100_000),
}
SCHEDULES = {
    "tiny": Schedule(steps=6, save_every=3, sample_every=3, log_every=1),
    "demo": Schedule(steps=5000, max_minutes=1.8, save_every=500, sample_every=1000),
    "paper": Schedule(steps=20_000),
}


@dataclasses.dataclass
class Learner:
    """The moving parts of a run: what a checkpoint's `state` holds, beside the averaged network."""

    network: CharLM
    average: CharLM
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler
    precision: Precision
    config: Config

    @classmethod
    def new(cls, config: Config, device: str) -> Learner:
        """A fresh network and optimizer, all from the config's seed."""
        precision = pick(config.precision, device)
        network = build(config.model, config.seed).to(device)
        average = copy.deepcopy(network).eval()
        optimizer = torch.optim.Adam(network.parameters(), config.learning_rate, fused=True)
        return cls(network, average, optimizer, precision.scaler(), precision, config)

    def state(self) -> dict[str, Tensor]:
        """Everything but the averaged network as named tensors."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        return tensors | optimizer_tensors("network", self.optimizer) | scaler_tensors(self.scaler)

    def load(self, average: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore what `state` and the averaged network's weights hold; strict."""
        self.average.load_state_dict(average)
        self.network.load_state_dict(below(state, "network."))
        load_optimizer("network", self.optimizer, state)
        load_scaler(self.scaler, state)

    def update(self, inputs: Tensor, targets: Tensor, step: int) -> Figures:
        """One step on rows (B, T) int64 and their next bytes (B, T). Returns the loss in bits per byte."""
        device = next(self.network.parameters()).device
        # What dropout drops follows from the seed and the step alone, so a resumed run drops the same.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.config.seed * 1_000_003 + step)
            with self.precision.cast():
                logits, _ = self.network(inputs.to(device))
        loss = F.cross_entropy(logits.float().flatten(0, 1), targets.to(device).flatten())
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)  # Pascanu 2013 (arXiv:1211.5063)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        batch = self.config.batch_size
        ema.update(
            self.average,
            self.network,
            ema.half_life_decay(step * batch, batch, self.config.ema_half_life_krows),
        )
        return {"loss": float(loss.detach()) / math.log(2)}


def train(run: Run, config: Config) -> checkpoint.Meta:
    """Train from the last checkpoint of `run` (or from nothing) to the end of its schedule; returns the last checkpoint's meta.

    Raises `CheckpointError` (made another way), `DataError` (bad data), `TrainingStopped` (NaN), `OSError` (disk).
    """
    stop_at = time.monotonic() + 60 * run.schedule.max_minutes
    device = pick_device(run.schedule.device)
    meta = resume_point(run, dataclasses.asdict(config))
    data = open_texts(config.data, config.world_size)
    learner = Learner.new(config, device)
    take_up(run, meta, data, learner.load, f"{len(data.texts)} texts of {data.name}, {device} {learner.precision}")
    return go_on(run, config, data, _work(run, config, data, learner), meta, stop_at)


def _work(run: Run, config: Config, data: TextSet, learner: Learner) -> Work:
    stream = sentences.stream(data.texts)
    spans = row_spans(stream, config.row)

    def look(step: int) -> Figures:
        samples = sample(learner.average, JUDGED, TEMPERATURE, config.seed)
        _write_samples(samples[:SHOWN], run.folder / "samples" / f"step-{step:07d}.txt")
        figures = {"bits_per_byte": bits_per_byte(learner.average, data.held_out[:JUDGED])}
        if config.data == sentences.NAME:  # of other texts nobody can say what is right
            figures["valid"] = sum(map(sentences.is_valid, samples)) / len(samples)
        return figures

    return Work(
        update=lambda step: learner.update(*_batch(stream, spans, config, step), step),
        look=look,
        # How much better texts are predicted that were learned from: what was learned by heart.
        finish=lambda step: {
            **look(step),
            "bits_per_byte_train": bits_per_byte(learner.average, data.texts[:JUDGED]),
        },
        final="bits_per_byte_train",
        served=learner.average.state_dict,
        state=learner.state,
        unit="texts",
        units_per_step=config.batch_size,
        curves=("loss", "bits_per_byte"),
    )


def row_spans(stream: NDArray[np.uint8], longest: int) -> NDArray[np.int64]:
    """Where the rows of a stream (N,) of texts begin and end (R, 2): a row is a text with the boundary on either side.

    A text of more than `longest` bytes makes several rows, each of which begins at the first byte of a character.
    """
    spans = []
    for begin, end in itertools.pairwise(np.flatnonzero(stream == BOUNDARY).tolist()):
        starts = [begin]
        while end - starts[-1] > longest:
            cut = starts[-1] + longest
            while stream[cut] & 0xC0 == 0x80:  # within a UTF-8 character: back to its first byte
                cut -= 1
            starts.append(cut)
        # Each row ends with the first byte of the next one, so that every byte is predicted once.
        spans += [(start, stop + 1) for start, stop in itertools.pairwise([*starts, end])]
    return np.array(spans, np.int64)


def _batch(stream: NDArray[np.uint8], spans: NDArray[np.int64], config: Config, step: int) -> tuple[Tensor, Tensor]:
    """The rows of one step, drawn from the seed and the step alone: inputs and targets (B, T)."""
    random = np.random.Generator(np.random.Philox(key=[config.seed, step]))
    drawn = spans[random.integers(len(spans), size=config.batch_size)]
    return _inputs_and_targets([stream[begin:end] for begin, end in drawn])


def _inputs_and_targets(rows: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Rows of bytes -> all but the last byte, and all but the first one (B, T) int64, padded with what the loss ignores."""
    T = max(map(len, rows)) - 1
    inputs, targets = np.full((len(rows), T), BOUNDARY, np.int64), np.full((len(rows), T), IGNORED, np.int64)
    for at, row in enumerate(rows):
        inputs[at, : len(row) - 1], targets[at, : len(row) - 1] = row[:-1], row[1:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)


@torch.no_grad()
def sample(network: CharLM, count: int, temperature: float, seed: int) -> list[str]:
    """`count` texts drawn byte by byte, each until its boundary or `LONGEST` bytes; what is no UTF-8 shows as U+FFFD."""
    device = next(network.parameters()).device
    random = torch.Generator().manual_seed(seed + 1)
    state = list(network.zeros(count))
    token = torch.full((count,), BOUNDARY, device=device)
    written: list[Tensor] = []
    ended = torch.zeros(count, dtype=torch.bool)
    while len(written) < LONGEST and not ended.all():
        logits, *state = network.step(token, *state)
        chances = torch.softmax(logits.cpu() / temperature, dim=1)
        drawn = torch.multinomial(chances, 1, generator=random)[:, 0]  # (B,)
        ended |= drawn == BOUNDARY
        written.append(drawn)
        token = drawn.to(device)
    rows = torch.stack(written, dim=1).byte().numpy()  # (B, T)
    return [row.tobytes().partition(sentences.BOUNDARY)[0].decode(errors="replace") for row in rows]


@torch.no_grad()
def bits_per_byte(network: CharLM, texts: Sequence[str]) -> float:
    """What a byte of these texts costs on average, each text by itself, the boundary that ends it included."""
    device = next(network.parameters()).device
    nats, count = 0.0, 0
    for at in range(0, len(texts), 64):
        inputs, targets = _inputs_and_targets(
            [sentences.stream([text])[: MEASURED + 1] for text in texts[at : at + 64]]
        )
        logits, _ = network(inputs.to(device))
        nats += float(F.cross_entropy(logits.cpu().flatten(0, 1), targets.flatten(), reduction="sum"))
        count += int((targets != IGNORED).sum())
    return round(nats / count / math.log(2), 4)


def _write_samples(texts: Sequence[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def load_generator(path: Path) -> tuple[checkpoint.Meta, CharLM]:
    """The averaged network of a checkpoint directory, in evaluation mode. Raises `CheckpointError`."""
    return load_network(path, lambda model: CharLM(ModelConfig(**model)))
