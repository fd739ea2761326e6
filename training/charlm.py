"""Recipe of `charlm`: a language model over bytes, trained to predict the next byte of short texts.

Graves 2013 (arXiv:1308.0850) for text from an LSTM, one byte after the other. Run it with
`python -m training charlm --name NAME --preset demo`.

Dimensions: B batch, T bytes of a window, L layers, H width of a layer.
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
from training.loop import Figures, Work, check_data, go_on
from training.models.charlm import BOUNDARY, CharLM, ModelConfig, build
from training.precision import Precision, PrecisionName, pick, pick_device
from training.run import Run, Schedule, begin_anew, resume_point
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
LONGEST = 320  # bytes after which a sample is cut off: the written texts end well before
MEASURED = 512  # bytes of a text that bits per byte are measured on, from its beginning


@dataclasses.dataclass(frozen=True)
class Config:
    """What is learned. A run resumes only with an equal config."""

    model: Annotated[ModelConfig, OmitArgPrefixes] = ModelConfig()
    data: str = sentences.NAME
    """`sentences` for the written world, or a UTF-8 file: one text per line, or texts divided by blank lines"""
    world_size: int = 20_000
    """how many texts the written world has"""
    window: int = 256
    """bytes that gradients flow through: a window begins where a text does and runs into the texts after it"""
    batch_size: int = 64
    """windows of a step"""
    learning_rate: float = 2e-3
    clip: float = 1.0
    """longest gradient: what is longer is scaled down to it"""
    ema_half_life_kwindows: float = 5.0
    """half-life of the averaged network, in thousands of windows"""
    precision: PrecisionName = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that have it, else fp32"""
    seed: int = 0

    def __post_init__(self) -> None:
        for field, least in (("batch_size", 1), ("window", 8), ("world_size", 1)):
            if getattr(self, field) < least:
                found = getattr(self, field)
                raise ValueError(f"--{field.replace('_', '-')} is {found}, wanted at least {least}")
        for field in ("learning_rate", "clip"):
            if getattr(self, field) <= 0:
                raise ValueError(f"--{field.replace('_', '-')} is {getattr(self, field)}, wanted more than 0")


PRESETS = {
    "tiny": Config(
        ModelConfig(embedding=16, hidden=32), world_size=64, window=64, batch_size=8, ema_half_life_kwindows=0.05
    ),
    "demo": Config(ModelConfig(embedding=64, hidden=256, dropout=0.0)),
    "paper": Config(world_size=100_000),
}
SCHEDULES = {
    "tiny": Schedule(steps=6, save_every=3, sample_every=3, log_every=1),
    "demo": Schedule(steps=400, max_minutes=1.9, save_every=100, sample_every=100),
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

    def update(self, windows: Tensor, step: int) -> Figures:
        """One step on windows (B, T + 1) int64. Returns the loss in bits per byte."""
        device = next(self.network.parameters()).device
        windows = windows.to(device)
        # What dropout drops follows from the seed and the step alone, so a resumed run drops the same.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(self.config.seed * 1_000_003 + step)
            with self.precision.cast():
                logits, _ = self.network(windows[:, :-1])
        loss = F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())
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
            ema.half_life_decay(step * batch, batch, self.config.ema_half_life_kwindows),
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
    if run.restart:
        begin_anew(run)
    if meta is not None:
        check_data(run, meta, data)
        learner.load(checkpoint.load_model(run.checkpoint)[1], checkpoint.load_state(run.checkpoint)[1])
    step = meta.step if meta else 0
    print(
        f"{run.recipe} '{run.name}': {len(data.texts)} texts of {data.name}, {device} {learner.precision}, "
        f"step {step} of {run.schedule.steps}{' (resumed)' if step else ''}"
    )
    return go_on(run, config, data, _work(run, config, data, learner), meta, stop_at)


def _work(run: Run, config: Config, data: TextSet, learner: Learner) -> Work:
    stream = sentences.stream(data.texts)
    starts = window_starts(stream, config.window)

    def look(step: int) -> Figures:
        samples = sample(learner.average, JUDGED, TEMPERATURE, config.seed)
        _write_samples(samples[:SHOWN], run.folder / "samples" / f"step-{step:07d}.txt")
        figures = {"bits_per_byte": bits_per_byte(learner.average, data.held_out[:JUDGED])}
        if config.data == sentences.NAME:  # of other texts nobody can say what is right
            figures["valid"] = sum(map(sentences.is_valid, samples)) / len(samples)
        return figures

    return Work(
        update=lambda step: learner.update(windows(stream, starts, config, step), step),
        look=look,
        # How much better texts are predicted that were learned from: what was learned by heart.
        finish=lambda step: {
            **look(step),
            "bits_per_byte_train": bits_per_byte(learner.average, data.texts[:JUDGED]),
        },
        final="bits_per_byte_train",
        served=learner.average.state_dict,
        state=learner.state,
        unit="bytes",
        units_per_step=config.batch_size * config.window,
        curves=("loss", "bits_per_byte"),
    )


def window_starts(stream: NDArray[np.uint8], window: int) -> NDArray[np.int64]:
    """Where windows may begin in a stream (N,) of texts: at the boundary before each, and, in a text longer than a
    window, at every window's length into it, so that all of it is learned."""
    boundaries = np.flatnonzero(stream == BOUNDARY)
    starts = np.concatenate([np.arange(begin, end, window) for begin, end in itertools.pairwise(boundaries)])
    while (inside := stream[starts] & 0xC0 == 0x80).any():  # within a UTF-8 character: back to its first byte
        starts[inside] -= 1
    return starts


def windows(stream: NDArray[np.uint8], starts: NDArray[np.int64], config: Config, step: int) -> Tensor:
    """The windows (B, T + 1) int64 of one step, drawn from the seed and the step alone; past the end comes the begin."""
    random = np.random.Generator(np.random.Philox(key=[config.seed, step]))
    begin = starts[random.integers(len(starts), size=config.batch_size)]  # (B,)
    at = begin[:, None] + np.arange(config.window + 1)  # (B, T + 1)
    return torch.from_numpy(stream[at % (len(stream) - 1)].astype(np.int64))  # the last boundary is the first one


@torch.no_grad()
def sample(network: CharLM, count: int, temperature: float, seed: int) -> list[str]:
    """`count` texts drawn byte by byte, each until its boundary or `LONGEST` bytes; bytes that are no UTF-8 show as �."""
    model, device = network.config, next(network.parameters()).device
    random = torch.Generator().manual_seed(seed + 1)
    h = c = torch.zeros(count, model.layers, model.hidden, device=device)
    token = torch.full((count,), BOUNDARY, device=device)
    written: list[Tensor] = []
    ended = torch.zeros(count, dtype=torch.bool)
    while len(written) < LONGEST and not ended.all():
        logits, h, c = network.step(token, h, c)
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
        rows = [sentences.stream([text])[: MEASURED + 1] for text in texts[at : at + 64]]
        longest = max(map(len, rows))
        # Boundaries pad the short ones; -100 is what the loss passes over.
        inputs = np.stack([np.pad(row, (0, longest - len(row))) for row in rows]).astype(np.int64)
        targets = np.stack(
            [np.pad(row[1:].astype(np.int64), (0, longest - len(row)), constant_values=-100) for row in rows]
        )
        logits, _ = network(torch.from_numpy(inputs[:, :-1]).to(device))
        nats += float(F.cross_entropy(logits.cpu().flatten(0, 1), torch.from_numpy(targets).flatten(), reduction="sum"))
        count += int((targets >= 0).sum())
    return round(nats / count / math.log(2), 4)


def _write_samples(texts: Sequence[str], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    temporary.write_text("\n\n".join(texts) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def load_generator(path: Path) -> tuple[checkpoint.Meta, CharLM]:
    """The averaged network of a checkpoint directory, in evaluation mode. Raises `CheckpointError`."""
    return load_network(path, lambda model: CharLM(ModelConfig(**model)))
