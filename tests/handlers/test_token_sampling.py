"""The next token: what is kept, what is forbidden, and that chances are what they should be."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray

from handlers.sampling import next_token as sampling
from handlers.sampling import philox
from handlers.sampling.next_token import Rule

SCORES = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625], np.float32))


def shares(rule: Rule, scores: NDArray[np.float32] = SCORES, count: int = 4000) -> NDArray[np.float64]:
    drawn = [sampling.draw(scores, rule, u) for u in philox.uniforms([3], count)[0]]
    return np.bincount(drawn, minlength=len(scores)) / count


def test_a_temperature_of_one_draws_what_the_model_believes() -> None:
    np.testing.assert_allclose(shares(Rule(1.0)), np.exp(SCORES), atol=0.025)


def test_a_low_temperature_sharpens_and_a_high_one_flattens() -> None:
    np.testing.assert_allclose(shares(Rule(0.5)), np.exp(2 * SCORES) / np.exp(2 * SCORES).sum(), atol=0.025)
    assert shares(Rule(2.0))[0] < 0.4 < shares(Rule(0.5))[0]
    assert shares(Rule(0.01))[0] == 1


def test_top_k_keeps_the_likeliest_and_their_equals() -> None:
    np.testing.assert_allclose(shares(Rule(1.0, top_k=2)), [2 / 3, 1 / 3, 0, 0, 0], atol=0.025)
    assert shares(Rule(1.0, top_k=4))[3:].min() > 0  # the fourth and the fifth are equal: the order decides nothing


def test_top_p_keeps_the_likeliest_that_hold_the_share() -> None:
    np.testing.assert_allclose(shares(Rule(1.0, top_p=0.7)), [2 / 3, 1 / 3, 0, 0, 0], atol=0.025)
    assert shares(Rule(1.0, top_p=0.5))[0] == 1  # the first one holds the share
    assert shares(Rule(1.0, top_p=0.01))[0] == 1
    assert shares(Rule(1.0, top_p=1.0))[3:].min() > 0


RULES = st.builds(
    Rule,
    st.sampled_from([0.0, 1e-300, 0.01, 0.3, 1.0, 2.0]) | st.floats(1e-3, 2),
    st.sampled_from([0, 1, 2, 7, 300]),
    st.sampled_from([1.0, 0.01, 0.5, 0.9]),
)


MANY_RULES = st.lists(RULES, min_size=1, max_size=40)


@given(st.integers(0, 2**32), MANY_RULES, st.sampled_from([3, 17, 256, 1100]), st.booleans())
def test_rows_that_are_drawn_together_draw_what_each_draws_alone(
    seed: int, rules: list[Rule], tokens: int, ties: bool
) -> None:
    """Bit for bit, whatever their neighbours' rules: with equal scores, forbidden tokens, the ends of the numbers."""
    random = np.random.default_rng(seed)
    scores = (random.standard_normal((len(rules), tokens)) * random.choice([0.1, 3, 30])).astype(np.float32)
    scores = np.round(scores) if ties else scores
    sampling.forbid(scores, random.integers(1, tokens, 2).tolist())
    uniforms = random.choice([2.0**-53, 0.5, 1 - 2.0**-53, *random.random(8)], len(rules)).tolist()
    wanted = [
        sampling.draw(row, rule, uniform) if rule.temperature > 0 else int(row.argmax())
        for row, rule, uniform in zip(scores, rules, uniforms, strict=True)
    ]
    assert sampling.choose(scores, rules, uniforms).tolist() == wanted
    drawn = [row for row, rule in enumerate(rules) if rule.temperature > 0]
    if drawn:
        dense = sampling.draw_dense(scores[drawn], [rules[row] for row in drawn], [uniforms[row] for row in drawn])
        assert dense.tolist() == [wanted[row] for row in drawn]


def test_the_same_number_draws_the_same_token_and_the_ends_stay_inside() -> None:
    assert [sampling.draw(SCORES, Rule(1.0), u) for u in (1e-16, 0.4999, 0.5001, 1 - 1e-16)] == [0, 0, 1, 4]


TINY = [5e-324, 1e-308, 1e-300, 1e-45, 1e-38, 1e-20, 1e-9]  # numbers that a request may hold where 0 is the least


@given(
    st.lists(st.sampled_from([0.0, -0.0, 1e-45, 1.0, 30.0, -30.0, 3e38, -3e38, 88.0, -1e-38]), min_size=2, max_size=9),
    st.lists(
        st.builds(
            Rule,
            st.sampled_from([0.0, -0.0, *TINY, 1.0, 2.0]),
            st.sampled_from([0, 1, 2, 256, 1000]),
            st.sampled_from([*TINY, 0.01, 1 - 2**-53, 1.0]),
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([2.0**-53, 0.5, 1 - 2.0**-53]),
)
def test_extreme_numbers_draw_a_token_that_is_possible(scores: list[float], rules: list[Rule], uniform: float) -> None:
    """Neither NaN nor an exception nor a warning, and the same token in every way of drawing it."""
    rows = np.tile(np.array(scores, np.float32), (len(rules), 1))
    sampling.forbid(rows, [0])
    chosen = sampling.choose(rows, rules, [uniform] * len(rules))
    for row, rule, token in zip(rows, rules, chosen.tolist(), strict=True):
        assert token != 0
        if rule.temperature > 0:
            assert token == sampling.draw(row, rule, uniform)
        if rule.temperature < 1e-40 or rule.top_k == 1 or rule.top_p < 1e-40:
            # Differences under the smallest normal number are none where another library has them flushed to 0.
            assert row[token] >= row.max() - np.finfo(np.float32).tiny


@pytest.mark.parametrize("penalty", [0.5, 2.0, 1 + 2**-52, 1 - 2**-53])
def test_the_repetition_penalty_leaves_no_score_that_is_no_number(penalty: float) -> None:
    scores = np.array([3.4e38, -3.4e38, 1e-45, -1e-45, 0.0, -np.inf], np.float32)
    sampling.penalize(scores, range(6), penalty)
    assert not np.isnan(scores).any()
    assert 0 <= sampling.draw(scores, Rule(1e-308), 0.5) < 5


def test_forbidden_tokens_are_never_drawn() -> None:
    scores = np.stack([SCORES, SCORES])
    sampling.forbid(scores, (0, 2))
    assert np.isneginf(scores[:, [0, 2]]).all()
    assert set(np.flatnonzero(shares(Rule(2.0), scores[0]))) == {1, 3, 4}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_are_an_error(bad: float) -> None:
    scores = np.stack([SCORES, SCORES])
    scores[1, 2] = bad
    with pytest.raises(ValueError, match="a score of the next token is NaN or infinite"):
        sampling.forbid(scores, (0,))


def test_the_repetition_penalty_lowers_scores_of_either_sign_once_a_token() -> None:
    scores = np.array([2.0, -2.0, 3.0], np.float32)
    sampling.penalize(scores, [0, 1, 0, 1], 2.0)
    assert scores.tolist() == [1.0, -4.0, 3.0]


def test_log_probabilities_sum_to_one_and_what_is_impossible_stays_so() -> None:
    scores = np.array([[1000.0, 999.0, -np.inf]], np.float32)
    found = sampling.log_softmax(scores)
    assert np.exp(found).sum() == pytest.approx(1)
    assert found[0, 2] == -np.inf
    assert found[0, 0] == pytest.approx(-np.log1p(np.exp(-1)))
