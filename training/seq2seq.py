"""Recipes `summarizer` and `dialogue`: a sequence-to-sequence network that learns to write the target of a source.

Maximum likelihood with scheduled sampling, label smoothing and early stopping. Run it with
`python -m training summarizer --name NAME --preset demo`.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

from training import evaluate_pairs, loop, pretrained, seq2seq_checkpoint
from training.batches import by_length, of_like_length
from training.checkpoint import Checkpoint, Meta
from training.data import Fields
from training.data.pairs import open_pairs
from training.encoding import encode
from training.evaluate_pairs import nats_per_token
from training.interruption import Interruption
from training.loop import Figures, Work
from training.models.seq2seq import ModelConfig, Seq2Seq
from training.run import Run, Schedule
from training.seq2seq_checkpoint import Trained
from training.seq2seq_config import Config
from training.seq2seq_learner import Learner
from training.tokenizer import BytePairTokenizer

JUDGED = 256  # held-out pairs that are written and judged while training


_SMALL = ModelConfig(vocabulary=2000, embedding=128, hidden=256, layers=1, dropout=0.1, max_source=192, max_target=48)
PRESETS = {
    "tiny": Config(
        model=ModelConfig(
            vocabulary=400, embedding=16, hidden=32, layers=1, dropout=0.0, max_source=256, max_target=16
        ),
        world_size=64,
        batch_size=8,
        ema_half_life_kitems=0.01,
    ),
    "demo": Config(
        model=_SMALL,
        batch_size=32,
        learning_rate=3e-3,
        teacher_forcing=0.9,
        label_smoothing=0.0,
        ema_half_life_kitems=1.0,
    ),
    "paper": Config(world_size=100_000),
    "bert": Config(
        model=ModelConfig(embedding=128, hidden=384, layers=1, dropout=0.3, max_source=320, encoder="bert"),
        batch_size=32,
        label_smoothing=0.0,
        ema_half_life_kitems=5.0,
    ),
}
SCHEDULES = {
    "tiny": Schedule(steps=4, save_every=2, sample_every=2, log_every=1),
    "demo": Schedule(steps=1200, max_minutes=2.0, save_every=300, sample_every=300),
    "paper": Schedule(steps=40_000),
    "bert": Schedule(steps=10_000),
}


def train(run: Run, config: Config) -> Meta:
    """Train from the last checkpoint of `run` to the end of its schedule.

    Raises like `loop.train`, and `PretrainedError`.
    """
    return loop.train(run, config, _prepare)


def _prepare(run: Run, config: Config, device: str, resumed: Checkpoint | None) -> Work:
    fields = Fields(config.source_field, config.target_field)
    data = open_pairs(config.data, config.world_size, fields, config.most_bad, config.encoding)
    if resumed is not None:
        model = ModelConfig.of(resumed.meta.model)
        tokens, words = seq2seq_checkpoint.load_tokenizers(resumed)
        learner = Learner(config, model, device)
    else:
        texts = (text for pair in data.pairs for text in (*pair.source, pair.target))
        tokens = BytePairTokenizer.learn(texts, config.model.vocabulary)
        bert = pretrained.read(pretrained.find(config.bert)) if config.model.encoder == "bert" else None
        words = bert.words if bert else None
        model = dataclasses.replace(config.model, vocabulary=tokens.scored, bert_shape=bert.shape if bert else None)
        learner = Learner(config, model, device, bert.weights if bert else None)
    pairs, shown = (
        [encode(tokens, pair, model, config.task, words) for pair in part]
        for part in (data.pairs, data.held_out[:JUDGED])
    )
    groups = by_length([len(pair.source) * 1000 + len(pair.target) for pair in pairs])

    def update(step: int) -> Figures:
        chosen = of_like_length(groups, config.batch_size, config.seed, step)
        return learner.update([pairs[i] for i in chosen], step)

    def judge(step: int, network: Seq2Seq) -> tuple[float, Figures]:
        path = run.sample_file(step, ".txt")
        return evaluate_pairs.evaluate(network, tokens, config.data, data.held_out[:JUDGED], shown, path)

    def evaluate(step: int) -> Figures:
        loss, figures = judge(step, learner.average)
        with Interruption.held():
            learner.note(loss)
        return figures

    def finish(step: int) -> Figures:
        loss = nats_per_token(learner.average, shown)
        with Interruption.held():
            learner.note(loss)
        # How much better targets are predicted that were learned from: how much was learned by heart.
        known = math.exp(nats_per_token(learner.best, pairs[:JUDGED]))
        return {**judge(step, learner.best)[1], "perplexity_train": round(known, 3)}

    return Work(
        data=data,
        learner=learner,
        about=f"{len(data.pairs)} pairs of {data.name} ({data.lost} lines passed over), {tokens.size} tokens, "
        f"{device} {learner.averaged.optimization.precision}",
        model=dataclasses.asdict(model),
        update=update,
        evaluate=evaluate,
        finish=finish,
        final="perplexity_train",
        unit="pairs",
        curves=("loss", "loss_held_out"),
        right=("rouge_l", "fact_accuracy"),
        assets=seq2seq_checkpoint.assets(tokens, words, data.held_out),
        done=lambda: learner.stopping.done,
    )


def load_generator(source: Path | Checkpoint) -> tuple[Meta, Trained]:
    """The best network of a checkpoint in evaluation mode, and all that is needed to use it.

    Raises `CheckpointError`.
    """
    return seq2seq_checkpoint.load(source)
