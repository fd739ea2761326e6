"""The recipe of text from text: padding changes nothing, a resumed run equals a whole one, facts are learned."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from training import checkpoint
from training.__main__ import main
from training.batches import by_length, of_like_length
from training.data import Pair
from training.encoding import Encoded, encode
from training.evaluate_pairs import greedy_texts, nats_per_token
from training.models.seq2seq import BEGIN, END, PAD, Encoder, ModelConfig, Seq2Seq, build, read
from training.rouge import rouge
from training.seq2seq import PRESETS, load_generator
from training.seq2seq_checkpoint import HELD_OUT
from training.seq2seq_learner import Learner
from training.tokenizer import ASSET, BytePairTokenizer

SMALL = ModelConfig(vocabulary=300, embedding=12, hidden=16, layers=2, dropout=0.0, max_source=32, max_target=8)


def sources(lengths: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.from_numpy(np.random.default_rng(0).integers(4, 300, (len(lengths), max(lengths))))
    for row, length in zip(tokens, lengths, strict=True):
        row[length:] = PAD
    return tokens, torch.tensor(lengths)


@pytest.fixture(params=["lstm", "gru"])
def network(request: pytest.FixtureRequest) -> Seq2Seq:
    return build(dataclasses.replace(SMALL, cell=request.param), 0).eval()


@torch.no_grad()
def test_packed_and_padded_reading_agree(network: Seq2Seq) -> None:
    tokens, lengths = sources([20, 1, 7, 13])
    assert isinstance(network.encoder, Encoder)
    rows = network.encoder.embedding(tokens)
    for layer in (network.encoder.forwards[0], network.encoder.backwards[0]):
        packed, plain = read(layer, rows, lengths, packed=True), read(layer, rows, lengths, packed=False)
        for row, length in enumerate(lengths):
            torch.testing.assert_close(packed[row, :length], plain[row, :length])


@torch.no_grad()
def test_padding_and_neighbours_change_nothing(network: Seq2Seq) -> None:
    tokens, lengths = sources([20, 1, 7, 13])
    memory, *states = network.encode(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone, *own = network.encode(tokens[row : row + 1, :length], lengths[row : row + 1])
        torch.testing.assert_close(memory[row, :length], alone[0])
        for together, single in zip(states, own, strict=True):
            torch.testing.assert_close(together[row], single[0])


@torch.no_grad()
def test_both_directions_are_read(network: Seq2Seq) -> None:
    tokens, lengths = sources([10])
    changed = tokens.clone()
    changed[0, 9] = 5 if tokens[0, 9] != 5 else 6
    before, after = network.encode(tokens, lengths)[0], network.encode(changed, lengths)[0]
    assert (before[0, 0] != after[0, 0]).any()


@torch.no_grad()
def test_step_repeated_equals_forward(network: Seq2Seq) -> None:
    tokens, lengths = sources([20, 3, 9])
    target = torch.cat([torch.full((3, 1), BEGIN), torch.randint(4, 300, (3, 6))], dim=1)
    whole = network(tokens, lengths, target, torch.ones_like(target, dtype=torch.bool))
    memory, *state = network.encode(tokens, lengths)
    feed = torch.zeros(3, SMALL.hidden)
    for at in range(7):
        logits, weights, feed, *state = network.step(target[:, at], feed, tokens, memory, lengths, tuple(state))
        torch.testing.assert_close(logits, whole[:, at])
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))
        assert all((weights[row, length:] == 0).all() for row, length in enumerate(lengths))
        torch.testing.assert_close(logits.exp().sum(dim=1), torch.ones(3), atol=1e-4, rtol=0)


@torch.no_grad()
def test_what_is_not_forced_is_the_networks_own_word(network: Seq2Seq) -> None:
    tokens, lengths = sources([20, 3])
    target = torch.cat([torch.full((2, 1), BEGIN), torch.randint(4, 300, (2, 5))], dim=1)
    free = network(tokens, lengths, target, torch.zeros_like(target, dtype=torch.bool))
    own = torch.cat([target[:, :1], free.argmax(dim=2)[:, :-1]], dim=1)
    torch.testing.assert_close(free, network(tokens, lengths, own, torch.ones_like(target, dtype=torch.bool)))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("vocabulary", 100, "vocabulary is 100, wanted at least 260"),
        ("hidden", 15, "hidden is 15, wanted an even number: either direction reads with half of it"),
        ("dropout", 1.0, "dropout is 1.0, wanted at least 0 and less than 1"),
    ],
)
def test_sizes_that_cannot_be_are_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **{field: value})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def tokens() -> BytePairTokenizer:
    return BytePairTokenizer.learn(["one two three four five six seven eight nine ten"] * 3, 300)


def test_a_document_is_cut_at_its_end_and_a_conversation_at_its_beginning(tokens: BytePairTokenizer) -> None:
    pair, model = (
        Pair(("one two three", "four five six seven", "eight"), "nine ten"),
        dataclasses.replace(SMALL, max_source=8),
    )
    whole = tokens.encode_turns(pair.source)
    assert len(whole) > 8
    assert encode(tokens, pair, model, "summary").source.tolist() == whole[:8]
    assert encode(tokens, pair, model, "dialogue").source.tolist() == whole[-8:]
    assert encode(tokens, pair, model, "summary").target.tolist() == [*tokens.encode(pair.target), END]
    assert encode(tokens, Pair(("one",), "one " * 9), model, "summary").target.tolist() == tokens.encode("one " * 9)[:8]


def test_a_batch_follows_from_the_seed_and_the_step_and_is_of_like_lengths() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 100, 500).tolist()
    groups = by_length(lengths)
    assert sorted(np.concatenate(groups).tolist()) == list(range(500))
    for step in range(20):
        drawn = of_like_length(groups, 8, 0, step)
        assert drawn.tolist() == of_like_length(groups, 8, 0, step).tolist()
        found = [lengths[i] for i in drawn]
        assert max(found) - min(found) <= 10
    assert of_like_length(groups, 8, 0, 1).tolist() != of_like_length(groups, 8, 0, 2).tolist()
    assert of_like_length(groups, 8, 0, 1).tolist() != of_like_length(groups, 8, 1, 1).tolist()


def test_the_best_average_is_kept_and_patience_ends() -> None:
    config = dataclasses.replace(PRESETS["tiny"], patience=2)
    learner = Learner(config, SMALL, "cpu")
    for loss, done in ((3.0, False), (2.0, False), (2.5, False), (2.4, True)):
        with torch.no_grad():
            learner.average.output.bias.fill_(loss)
        learner.note(loss)
        assert learner.stopping.done is done
    assert (learner.best.output.bias == 2.0).all()
    again = Learner(config, SMALL, "cpu")
    again.load(learner.best.state_dict(), learner.state())
    assert (again.stopping.best, again.stopping.since, again.stopping.done) == (2.0, 2, True)
    never = Learner(dataclasses.replace(config, patience=0), SMALL, "cpu")
    never.note(1.0)
    never.note(2.0)
    assert not never.stopping.done


def learned(config_steps: int = 120) -> tuple[Learner, BytePairTokenizer, list[Encoded]]:
    """A network that has learned to copy the one name of a source."""
    names = ["Ada", "Ben", "Eva", "Ian", "Kim", "Lea", "Max", "Ole", "Pia", "Tom"]
    pairs = [Pair((f"{a} saw it and {b} did not.",), f"{a} saw it.") for a in names for b in names if a != b]
    tokens = BytePairTokenizer.learn((t for p in pairs for t in (*p.source, p.target)), 300)
    model = dataclasses.replace(SMALL, vocabulary=tokens.scored, hidden=48, embedding=32, layers=1, max_target=12)
    config = dataclasses.replace(
        PRESETS["tiny"],
        batch_size=16,
        learning_rate=1e-2,
        label_smoothing=0.0,
        ema_half_life_kitems=0.1,
        precision="fp32",
    )
    learner = Learner(config, model, "cpu")
    encoded = [encode(tokens, pair, model, "summary") for pair in pairs]
    groups = by_length([len(pair.source) for pair in encoded])
    for step in range(1, config_steps + 1):
        learner.update([encoded[i] for i in of_like_length(groups, config.batch_size, config.seed, step)], step)
    return learner, tokens, encoded


@pytest.mark.slow
def test_copying_is_learned_in_few_steps() -> None:
    learner, tokens, encoded = learned()
    written = greedy_texts(learner.average, tokens, encoded)
    wanted = [tokens.decode(pair.target) for pair in encoded]
    assert sum(a == b for a, b in zip(written, wanted, strict=True)) >= 0.9 * len(wanted)
    assert nats_per_token(learner.average, encoded) < 0.1


def run(*options: str) -> int:
    return main(["summarizer", "--name", "s", "--preset", "tiny", *options])


@pytest.mark.slow
def test_a_resumed_run_equals_one_that_ran_through(workspace: Path) -> None:
    assert run("--precision", "fp32") == 0
    through = checkpoint.read(checkpoint.directory("s"))
    assert run("--precision", "fp32", "--restart", "--steps", "2") == 0
    assert checkpoint.read(checkpoint.directory("s")).step == 2
    assert run("--precision", "fp32", "--steps", "4") == 0
    again = checkpoint.read(checkpoint.directory("s"))
    assert again.step == through.step == 4
    assert {k: v for k, v in again.files.items() if "assets" in k} == {
        k: v for k, v in through.files.items() if "assets" in k
    }
    assert again.metrics["loss_held_out"] == through.metrics["loss_held_out"]


@pytest.mark.slow
def test_a_checkpoint_holds_all_that_is_needed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dialogue", "--name", "d", "--preset", "tiny"]) == 0
    meta, trained = load_generator(checkpoint.directory("d"))
    assert trained.task == "dialogue"
    assert trained.tokens.scored == trained.network.config.vocabulary == meta.model["vocabulary"]
    assert len(trained.held_out) == 256
    assert any(len(pair.source) > 1 for pair in trained.held_out)
    assert {"perplexity", "rouge_l", "fact_accuracy", "perplexity_train"} <= set(meta.metrics)
    samples = next((workspace / "artifacts/runs/d/samples").glob("*.txt")).read_text()
    assert "< source, = wanted, > written" in samples
    assert (workspace / "artifacts/runs/d/losses.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_tokenizer_of_another_size_is_refused(workspace: Path) -> None:
    assert run() == 0
    path = checkpoint.directory("s")
    meta = checkpoint.read(path)
    other = BytePairTokenizer.learn(["other words"], 280)
    state = checkpoint.load_state(path)[1]
    assets = {ASSET: other.data, HELD_OUT: checkpoint.load_asset(path, HELD_OUT)}
    checkpoint.save(path, meta, checkpoint.load_model(path)[1], state, assets)
    with pytest.raises(
        checkpoint.CheckpointError, match=rf"the tokenizer has {other.size} tokens, the network scores 448"
    ):
        load_generator(path)


def test_pairs_of_a_file_are_learned(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"in": f"The number {n} is written here.", "out": f"It is {n}."} for n in range(60)]
    Path("pairs.jsonl").write_text("\n".join(json.dumps(row) for row in rows) + "\nnot json\n")
    options = ("--data", "pairs.jsonl", "--source-field", "in", "--target-field", "out")
    assert run(*options) == 1
    assert "1 of 61" in capsys.readouterr().err
    assert run(*options, "--most-bad", "0.1") == 0
    meta = checkpoint.read(checkpoint.directory("s"))
    assert "fact_accuracy" not in meta.metrics
    assert "rouge_l" in meta.metrics


def test_rouge_knows_scripts_without_spaces() -> None:
    assert rouge(["今天天气很好"], ["今天天气不好"])["rouge_1"] == pytest.approx(5 / 6, abs=1e-4)
    assert rouge(["The Café is open."], ["the café is OPEN"])["rouge_l"] == 1
    assert rouge(["a b c d"], ["a c b d"]) == {"rouge_1": 1.0, "rouge_2": 0.0, "rouge_l": 0.75}
    with pytest.raises(ValueError, match="1 texts for 0 references, wanted as many, and at least one"):
        rouge([], ["a"])
