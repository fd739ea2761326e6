"""Beam search against a search of every text, and the penalties of Wu et al. 2016."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.text.beam import Beam, Hypothesis
from handlers.text.tokenizer import END

V = 5  # tokens, of which END is one
Model = Callable[[tuple[int, ...]], NDArray[np.float64]]


def model_of(seed: int) -> Model:
    """Log-probabilities of the next token, which depend on all tokens before."""

    def next_token(tokens: tuple[int, ...]) -> NDArray[np.float64]:
        scores = np.random.default_rng([seed, *tokens]).normal(size=V) * 2
        scores[0] = -np.inf  # never written
        return np.asarray(scores - np.log(np.exp(scores).sum()))

    return next_token


def search(model: Model, width: int, longest: int, length_penalty: float = 1.0, coverage_penalty: float = 0.0) -> Beam:
    beam = Beam.new(width, length_penalty, coverage_penalty, positions=2)
    for _ in range(longest):
        logprobs = np.stack([model(h.tokens) for h in beam.live])
        weights = np.full((len(beam.live), 2), 0.5, np.float32)
        beam = beam.advance(logprobs, weights, longest)
        if beam.done:
            break
    return beam


def every_text(model: Model, longest: int, beam: Beam) -> list[tuple[float, tuple[int, ...]]]:
    """All texts of at most `longest` tokens with their scores, the best first."""
    found = []
    for size in range(1, longest + 1):
        for tokens in itertools.product(range(1, V), repeat=size):
            whole = END not in tokens[:-1] and (tokens[-1] == END or size == longest)
            if whole:
                steps = tuple(float(model(tokens[:at])[token]) for at, token in enumerate(tokens))
                found.append((beam.score(Hypothesis(tokens, steps, np.ones(2))), tokens))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
def test_a_wide_beam_finds_the_best_text_of_all(seed: int, length_penalty: float) -> None:
    model, longest = model_of(seed), 4
    beam = search(model, width=64, longest=longest, length_penalty=length_penalty)  # 3 ** 3 unfinished texts: all fit
    score, tokens = every_text(model, longest, beam)[0]
    assert beam.ended[0][2].tokens == tokens
    assert beam.ended[0][0] == pytest.approx(score)


@pytest.mark.parametrize("seed", range(6))
def test_one_beam_is_greedy(seed: int) -> None:
    model, tokens = model_of(seed), list[int]()
    while len(tokens) < 6 and (not tokens or tokens[-1] != END):
        tokens.append(int(model(tuple(tokens)).argmax()))
    assert list(search(model, 1, 6).ended[0][2].tokens) == tokens


def test_a_finished_text_says_why_and_the_best_comes_first() -> None:
    beam = search(model_of(3), 3, 4)
    assert len(beam.ended) >= 3
    assert [score for score, _, _ in beam.ended] == sorted((score for score, _, _ in beam.ended), reverse=True)
    for _, reason, hypothesis in beam.ended:
        assert reason == ("stop" if hypothesis.tokens[-1] == END else "length")
        assert reason == "stop" or len(hypothesis.tokens) == 4


def test_states_come_from_the_hypothesis_that_was_continued() -> None:
    first = Beam.new(2, 1.0, 0.0, 1).advance(np.log([[1e-9, 1e-9, 1e-9, 0.6, 0.4]]), np.ones((1, 1), np.float32), 9)
    assert [h.tokens for h in first.live] == [(3,), (4,)]
    assert first.parents == (0, 0)
    rows = np.log([[1e-9, 1e-9, 1e-9, 0.3, 0.2], [1e-9, 1e-9, 1e-9, 0.9, 0.1]])
    second = first.advance(rows, np.ones((2, 1), np.float32), 9)
    assert [h.tokens for h in second.live] == [(4, 3), (3, 3)]  # 0.4 * 0.9 before 0.6 * 0.3
    assert second.parents == (1, 0)


def test_equal_continuations_are_taken_in_the_order_of_beam_and_token() -> None:
    beam = Beam.new(2, 1.0, 0.0, 1).advance(
        np.log([[0.0 + 1e-300, 0.25, 1e-9, 0.25, 0.25]]), np.ones((1, 1), np.float32), 9
    )
    assert [h.tokens for h in beam.live] == [(1,), (3,)]


def test_the_coverage_penalty_prefers_what_looked_at_everything() -> None:
    beam = Beam.new(2, 0.0, 0.5, 2)
    half = Hypothesis((3,), (-1.0,), np.array([2.0, 0.5]))
    whole = Hypothesis((3,), (-1.0,), np.array([1.0, 1.5]))
    assert beam.score(whole) == -1.0
    assert beam.score(half) == pytest.approx(-1.0 + 0.5 * math.log(0.5))
    blind = Hypothesis((3,), (-1.0,), np.array([1.0, 0.0]))
    assert math.isfinite(beam.score(blind))


def test_length_normalization_is_that_of_the_paper() -> None:
    hypothesis = Hypothesis((3,) * 7, (-0.5,) * 7, np.ones(1))
    assert Beam.new(1, 0.6, 0.0, 1).score(hypothesis) == pytest.approx(-3.5 / 2**0.6)
    assert Beam.new(1, 0.0, 0.0, 1).score(hypothesis) == pytest.approx(-3.5)
