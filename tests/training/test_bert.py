"""A BERT inside the network: padding changes nothing, frozen it stays, fine-tuned it moves, a checkpoint is enough."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from tests.support.saved import assert_equal, tensors
from tests.support.tiny_bert import tiny_bert, word_pieces
from training import checkpoint, parameter_groups
from training.__main__ import main
from training.encoding import encode
from training.evaluate_pairs import nats_per_token
from training.models.bert import BertEncoder, BertShape, Remembered
from training.models.seq2seq import BEGIN, ModelConfig, Seq2Seq, build
from training.pretrained import read
from training.seq2seq import PRESETS, load_generator
from training.seq2seq_checkpoint import HELD_OUT
from training.tokenizer import ASSET, SOURCE_ASSET, WordPieceTokenizer

SHAPE = BertShape(200, 16, 2, 2, 32, 40, 2, 1e-12, "gelu", 0.1)
CONFIG = ModelConfig(300, 12, 16, 2, 0.0, max_source=32, max_target=8, encoder="bert", bert_shape=SHAPE)
BERT = "encoder.bert."


@pytest.fixture
def network() -> Seq2Seq:
    return build(CONFIG, 0).eval()


def rows() -> list[torch.Tensor]:
    """BytePairTokenizer, lengths, pieces, piece_lengths, at of three sources, with zeros behind each."""
    random = torch.Generator().manual_seed(0)
    lengths, piece_lengths = torch.tensor([20, 1, 7]), torch.tensor([9, 3, 30])
    tokens, pieces, at = (torch.randint(4, most, (3, 30), generator=random) for most in (300, 200, 9))
    at = at % piece_lengths[:, None]
    for row in range(3):
        tokens[row, lengths[row] :] = at[row, lengths[row] :] = pieces[row, piece_lengths[row] :] = 0
    return [tokens, lengths, pieces, piece_lengths, at]


@torch.no_grad()
def test_padding_and_neighbours_change_nothing(network: Seq2Seq) -> None:
    tokens, lengths, pieces, piece_lengths, at = rows()
    memory, *states = network.encode(tokens, lengths, pieces, piece_lengths, at)
    assert memory.shape == (3, 30, 16) and [state.shape for state in states] == [(3, 2, 16)] * 2
    for row in range(3):
        one, S, P = slice(row, row + 1), lengths[row], piece_lengths[row]
        alone, *own = network.encode(tokens[one, :S], lengths[one], pieces[one, :P], piece_lengths[one], at[one, :S])
        torch.testing.assert_close(memory[row, :S], alone[0])
        for together, single in zip(states, own, strict=True):
            torch.testing.assert_close(together[row], single[0])
    beyond = network.encode(tokens, lengths, torch.cat([pieces, pieces * 0], dim=1), piece_lengths, at)[0]
    torch.testing.assert_close(memory, beyond, msg="60 pieces of padding, over the 40 positions there are")


@torch.no_grad()
def test_tokens_of_one_piece_differ_and_every_piece_is_read(network: Seq2Seq) -> None:
    tokens, lengths, pieces, piece_lengths, at = rows()
    memory = network.encode(tokens, lengths, pieces, piece_lengths, torch.ones_like(at))[0]
    assert len(torch.unique(memory[0, :20], dim=0)) == 20
    changed = pieces.clone()
    changed[2, 29] = 5 if pieces[2, 29] != 5 else 6
    assert (network.encode(tokens, lengths, changed, piece_lengths, at)[0][2, 0] != memory[2, 0]).any()


@pytest.mark.slow
def test_a_frozen_bert_has_no_gradient_no_dropout_and_one_copy() -> None:
    network = build(CONFIG, 0).train()
    bert = parameter_groups.bert_of(network)
    assert bert is not None and not bert.model.training
    tokens, lengths, *more = rows()
    target = torch.full((3, 4), BEGIN)
    network(tokens, lengths, target, torch.ones_like(target, dtype=torch.bool), *more).sum().backward()
    weights = list(bert.parameters())
    assert len(weights) > 10
    assert all(weight.grad is None for weight in weights)
    assert all(p.grad is not None for n, p in network.named_parameters() if not n.startswith(BERT))
    memo = parameter_groups.shared(network)
    assert memo == {id(bert): bert} and bert.remembered is not None
    assert not any(name.startswith(BERT) for name in parameter_groups.learned(network))
    assert len(parameter_groups.groups(network, 1e-3, 0.1)) == 1


def test_what_was_said_is_remembered_and_depends_on_nothing_else() -> None:
    calls: list[int] = []

    def say(pieces: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        calls.append(int(lengths[0]))
        return pieces[:, :, None].expand(-1, -1, 4).float() / 3

    pieces, lengths = torch.tensor([[2, 7, 3, 0], [2, 3, 0, 0]]), torch.tensor([3, 2])
    roomy, full = Remembered(), Remembered(most=24)  # bytes: one text of three pieces, each 4 wide
    first, again = roomy(say, pieces, lengths), roomy(say, pieces[:1, :3], lengths[:1])
    assert calls == [3, 2]
    torch.testing.assert_close(first[0, :3], again[0])
    torch.testing.assert_close(first[0, :3], (pieces[0, :3, None] / 3).half().float().expand(-1, 4))
    assert not first[1, 2:].any()
    assert torch.equal(first, full(say, pieces, lengths)) and torch.equal(first, full(say, pieces, lengths))
    assert calls == [3, 2, 3, 2, 2], "the second one found no room"


def run(given: Path, *options: str, recipe: str = "summarizer") -> int:
    command = [recipe, "--name", "m", "--preset", "tiny", "--encoder", "bert", "--bert", str(given)]
    return main([*command, "--precision", "fp32", *options])


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--no-frozen", "--dropout", "0.2")])
def test_a_resumed_run_equals_one_that_ran_through_and_needs_no_directory(
    workspace: Path, options: tuple[str, ...]
) -> None:
    given = tiny_bert(workspace / "given")
    weights = {f"{BERT}model.{name}": weight for name, weight in read(given).weights.items()}
    assert run(given, *options) == 0
    through, served = tensors(), checkpoint.load_model(checkpoint.directory("m"))[1]
    moved = [name for name, weight in weights.items() if not torch.equal(served[name], weight)]
    assert bool(moved) is ("--no-frozen" in options)
    assert any(name.startswith(f"network.{BERT}") for name in through) is ("--no-frozen" in options)
    assert run(given, *options, "--restart", "--steps", "2") == 0
    shutil.rmtree(given)
    assert run(given, *options, "--steps", "4") == 0
    assert_equal(through, tensors())


def test_a_bert_is_learned_more_slowly() -> None:
    network = build(ModelConfig(**{**vars(CONFIG), "frozen": False}), 0)
    slow = parameter_groups.groups(network, 1e-3, 0.02)[1]
    assert slow["lr"] == pytest.approx(2e-5)
    with pytest.raises(ValueError, match=r"--bert-rate is 0, wanted more than 0"):
        dataclasses.replace(PRESETS["bert"], bert_rate=0)


@pytest.mark.slow
def test_a_checkpoint_holds_all_that_is_needed(workspace: Path) -> None:
    given = tiny_bert(workspace / "given")
    assert run(given, recipe="dialogue") == 0
    shutil.rmtree(given)
    _, trained = load_generator(checkpoint.directory("m"))
    assert isinstance(trained.network.encoder, BertEncoder)
    assert trained.words is not None
    encoded = [encode(trained.tokens, p, trained.network.config, trained.task, trained.words) for p in trained.held_out]
    assert all(len(pair.at) == len(pair.source) and pair.at.max() < len(pair.pieces) <= 160 for pair in encoded)
    assert nats_per_token(trained.network, encoded[:8]) > 0


@pytest.mark.slow
def test_a_source_tokenizer_of_another_model_is_refused(workspace: Path) -> None:
    assert run(tiny_bert(workspace / "given")) == 0
    path = checkpoint.directory("m")
    tokenizer = word_pieces()
    tokenizer.add_tokens(["more"])
    other = WordPieceTokenizer(tokenizer.to_str().encode(), 200)
    assets = {name: checkpoint.load_asset(path, name) for name in (ASSET, HELD_OUT)} | {SOURCE_ASSET: other.data}
    state = checkpoint.load_state(path)[1]
    checkpoint.save(path, checkpoint.read(path), checkpoint.load_model(path)[1], state, assets)
    wanted = (
        "the tokenizer has 157 word pieces, the BERT knows 156: they are not of one model; train again with --restart"
    )
    with pytest.raises(checkpoint.CheckpointError, match=wanted):
        load_generator(path)


def test_a_bert_of_unknown_size_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="encoder is bert, but its bert_shape is None: read its directory first"):
        build(ModelConfig(encoder="bert"), 0)
