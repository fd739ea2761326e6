"""From scores to the next token: greedy or drawn, with temperature, top-k, top-p and repetition penalty. numpy alone.

Everything works along a row, in double precision and in a fixed order: what a row draws does not depend on its
neighbours. docs/sampling.md specifies it.
Dimensions: B rows, V tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

NEGLIGIBLE = 40.0  # in nats below the likeliest: exp(-40) is lost in the rounding of the sum
DENSE = 1024  # tokens of a vocabulary up to which whole arrays are faster than the likely tokens of each row


@dataclasses.dataclass(frozen=True)
class Rule:
    """How the next token of one row is chosen."""

    temperature: float  # 0: the likeliest
    top_k: int = 0  # draw among the k likeliest; 0: all
    top_p: float = 1.0  # draw among the likeliest that hold this share together (Holtzman 2020, nucleus sampling)
    repetition_penalty: float = 1.0  # divides the scores of tokens written before (Keskar 2019, section 4.1)


def forbid(scores: NDArray[np.float32], tokens: Sequence[int]) -> None:
    """Make `tokens` impossible in scores (B, V), in place. Raises `ValueError` for scores that are NaN or infinite."""
    if not np.isfinite(scores).all():
        raise ValueError("a score of the next token is NaN or infinite")
    if tokens:
        scores[:, list(tokens)] = -np.inf


def penalize(scores: NDArray[np.float32], written: Sequence[int], penalty: float) -> None:
    """Lower the scores (V,) of tokens that were written before, in place. What is finite stays finite."""
    seen = np.unique(np.array(written, np.int64))
    before = scores[seen]
    with np.errstate(over="ignore"):
        after = np.where(before > 0, before / penalty, before * penalty)
    largest = np.finfo(np.float32).max
    scores[seen] = np.where(np.isfinite(before), np.clip(after, -largest, largest), before)


def choose(scores: NDArray[np.float32], rules: Sequence[Rule], uniforms: Sequence[float]) -> NDArray[np.int64]:
    """The next token (B,) of rows of scores (B, V), each by its rule and its number in (0, 1)."""
    drawn = [row for row, rule in enumerate(rules) if rule.temperature > 0]
    dense = scores.shape[1] <= DENSE
    if dense and len(drawn) == len(rules):
        return draw_dense(scores, rules, uniforms)
    chosen = np.asarray(scores.argmax(axis=1))
    if dense and drawn:
        chosen[drawn] = draw_dense(scores[drawn], [rules[row] for row in drawn], [uniforms[row] for row in drawn])
    else:
        chosen[drawn] = [draw(scores[row], rules[row], uniforms[row]) for row in drawn]
    return chosen


def draw(scores: NDArray[np.float32], rule: Rule, uniform: float) -> int:
    """The token that `uniform` in (0, 1) draws from scores (V,) at a temperature over 0.

    Tokens of equal score stay together: what top-k and top-p keep never depends on the order of the vocabulary.
    """
    top = float(scores.max())
    kept = np.flatnonzero(scores >= top - NEGLIGIBLE * rule.temperature)
    scaled = (scores[kept].astype(np.float64) - top) / rule.temperature
    if 0 < rule.top_k < len(kept):
        least = np.partition(scaled, -rule.top_k)[-rule.top_k]
        kept, scaled = kept[scaled >= least], scaled[scaled >= least]
    weights = np.exp(scaled)
    if rule.top_p < 1:
        falling = np.sort(weights)[::-1]
        upto = np.cumsum(falling)
        least = falling[int(np.searchsorted(upto, rule.top_p * upto[-1]))]  # the first at which the share is reached
        kept, weights = kept[weights >= least], weights[weights >= least]
    upto = np.cumsum(weights)
    at = int(np.searchsorted(upto, uniform * upto[-1], side="right"))
    return int(kept[min(at, len(kept) - 1)])


def draw_dense(scores: NDArray[np.float32], rules: Sequence[Rule], uniforms: Sequence[float]) -> NDArray[np.int64]:
    """`draw` for every row of scores (B, V), bit for bit: what is left out weighs 0, which changes no sum."""
    temperatures = np.array([rule.temperature for rule in rules])[:, None]
    top = scores.max(axis=1, keepdims=True).astype(np.float64)
    kept = scores >= (top - NEGLIGIBLE * temperatures).astype(np.float32)
    scaled = scores - top
    with np.errstate(over="ignore"):  # what falls below every float weighs 0
        scaled /= temperatures
    for k in {rule.top_k for rule in rules if 0 < rule.top_k < scores.shape[1]}:
        rows = [row for row, rule in enumerate(rules) if rule.top_k == k]
        kept[rows] &= scaled[rows] >= np.partition(scaled[rows], -k, axis=1)[:, -k, None]
    weights = np.exp(scaled, out=scaled)
    weights *= kept
    if rows := [row for row, rule in enumerate(rules) if rule.top_p < 1]:
        falling = np.sort(weights[rows], axis=1)[:, ::-1]
        upto = np.cumsum(falling, axis=1)
        shares = np.array([rules[row].top_p for row in rows])[:, None]
        first = (upto >= shares * upto[:, -1:]).argmax(axis=1)  # at which the share is reached
        weights[rows] *= weights[rows] >= falling[np.arange(len(rows)), first, None]
    upto = np.cumsum(weights, axis=1)
    # A uniform number is at most 1 - 2**-53: its share of the whole sum rounds to less than the sum, so one is found.
    return np.asarray((upto > (np.array(uniforms) * upto[:, -1])[:, None]).argmax(axis=1))


def log_softmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log-probabilities of scores (..., V); what is impossible stays -inf."""
    shifted = scores.astype(np.float64) - scores.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))
