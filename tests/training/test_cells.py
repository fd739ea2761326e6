"""The recurrent cells: one step equals PyTorch's whole sequence, and fresh gates remember."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from training.models.cells import CELLS, REMEMBERED, CellName
from training.models.charlm import VOCABULARY, ModelConfig, build

SMALL = ModelConfig(embedding=8, hidden=16, layers=2)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_steps_equal_the_whole_sequence(cell: CellName, layers: int) -> None:
    network = build(ModelConfig(cell, embedding=8, hidden=16, layers=layers), seed=1).eval()
    with torch.no_grad():  # zeros as biases would hide one in the wrong place
        for _, _, *biases in network.recurrent.all_weights:
            for bias in biases:
                bias.add_(torch.linspace(-1, 1, len(bias)))
    tokens = torch.randint(0, VOCABULARY, (3, 20), generator=torch.Generator().manual_seed(0))
    logits, last = network(tokens)
    assert logits.shape == (3, 20, VOCABULARY)
    state = list(network.zeros(3))
    assert len(state) == len(last) == len(network.state_names)
    for t in range(20):
        scores, *state = network.step(tokens[:, t], *state)
        torch.testing.assert_close(scores, logits[:, t], atol=1e-6, rtol=1e-5)
    for found, wanted in zip(state, last, strict=True):
        torch.testing.assert_close(found, wanted.transpose(0, 1), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_sequence_can_be_read_in_two_parts(cell: CellName) -> None:
    network = build(dataclasses.replace(SMALL, cell=cell), seed=1).eval()
    tokens = torch.arange(2 * 12).reshape(2, 12)
    whole, _ = network(tokens)
    first, state = network(tokens[:, :5])
    second, _ = network(tokens[:, 5:], state)
    torch.testing.assert_close(torch.cat([first, second], dim=1), whole)


def test_states_and_weights_have_their_names() -> None:
    networks = {cell: build(ModelConfig(cell, embedding=8, hidden=16, layers=1), seed=0) for cell in CELLS}
    assert {cell: network.state_names for cell, network in networks.items()} == {
        "rnn": ("h",),
        "lstm": ("h", "c"),
        "gru": ("h",),
    }
    for cell, network in networks.items():
        assert f"{cell}.weight_ih_l0" in network.state_dict()


@pytest.mark.parametrize("cell", CELLS)
def test_weights_follow_the_seed(cell: CellName) -> None:
    before = torch.get_rng_state()
    first, second, other = (build(dataclasses.replace(SMALL, cell=cell), seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    name = f"{cell}.weight_hh_l1"
    assert torch.equal(first[name], second[name])
    assert not torch.equal(first[name], other[name])


def test_memories_of_a_fresh_lstm_are_of_many_lengths() -> None:
    _, _, bias, other = build(SMALL, seed=1).recurrent.all_weights[1]
    write, keep, rest = bias[:16], bias[16:32], bias[32:]
    assert torch.equal(write, -keep)
    assert keep.min() >= 0
    assert 2 < keep.max() < 5
    assert not rest.any()
    assert not other.any()


def test_memories_of_a_fresh_gru_are_of_many_lengths() -> None:
    _, _, bias, other = build(dataclasses.replace(SMALL, cell="gru"), seed=1).recurrent.all_weights[1]
    reset, keep, candidate = bias.chunk(3)
    assert keep.min() >= 0
    assert 2 < keep.max() < 5
    assert not reset.any()
    assert not candidate.any()
    assert not other.any()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_fresh_gate_keeps_what_it_holds(cell: CellName) -> None:
    """The memory of a gated layer decays over many steps, not within one: the bias has the right sign."""
    step, (*_, weights) = CELLS[cell].step, build(ModelConfig(cell, 8, 64, 2), seed=0).recurrent.all_weights
    with torch.no_grad():
        for matrix in weights[:2]:
            matrix.zero_()
        state = tuple(torch.ones(1, 64) for _ in CELLS[cell].states)
        for _ in range(8):
            state = step(torch.zeros(1, 64), state, weights)
    kept = state[-1]  # c of an LSTM, h of a GRU: nothing is written, so this is what is left of the ones
    assert kept.median() > 0.7
    assert kept.max() < 1 - 4 / REMEMBERED


def test_a_fresh_rnn_neither_forgets_nor_grows() -> None:
    _, recurrent, *_ = build(dataclasses.replace(SMALL, cell="rnn"), seed=1).recurrent.all_weights[1]
    torch.testing.assert_close(recurrent @ recurrent.T, torch.eye(16))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cell": "qrnn"}, "cell is 'qrnn', wanted one of rnn, lstm, gru"),
        ({"embedding": 0}, "embedding is 0, wanted at least 1"),
        ({"hidden": 0}, "hidden is 0, wanted at least 1"),
        ({"layers": 0}, "layers is 0, wanted at least 1"),
        ({"dropout": 1.0}, r"dropout is 1\.0, wanted at least 0 and less than 1"),
    ],
)
def test_impossible_sizes_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ModelConfig(**fields)  # type: ignore[arg-type]
