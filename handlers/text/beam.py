"""Beam search of one request (Wu et al. 2016, arXiv:1609.08144, section 7: length normalization and coverage penalty).

Dimensions: K beams, V tokens, S source positions.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from handlers.text.tokenizer import END

SMALL = 1e-10  # of coverage: keeps a position that was never looked at from ruling a text out


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """A text: its tokens, their log-probabilities, and the attention that each source position had, (S,)."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    coverage: NDArray[np.float64]  # (S,)

    @property
    def total(self) -> float:
        """The log-probability of all tokens."""
        return math.fsum(self.logprobs)


@dataclasses.dataclass(frozen=True)
class Beam:
    """The best `width` unfinished hypotheses, and the finished ones. It never changes: `advance` gives the next."""

    width: int
    length_penalty: float
    coverage_penalty: float
    live: tuple[Hypothesis, ...]
    ended: tuple[tuple[float, str, Hypothesis], ...] = ()  # score, finish reason; best first
    parents: tuple[int, ...] = (0,)  # of each live hypothesis in the beam before: which row its state comes from

    @classmethod
    def new(cls, width: int, length_penalty: float, coverage_penalty: float, positions: int) -> Beam:
        """A beam of one empty hypothesis over that many source positions."""
        return cls(width, length_penalty, coverage_penalty, (Hypothesis((), (), np.zeros(positions)),))

    def advance(self, logprobs: NDArray[np.float64], weights: NDArray[np.float32], max_tokens: int) -> Beam:
        """One token further: logprobs (K, V) and attention weights (K, S) of the live hypotheses, in order.

        Of all continuations the 2K best are looked at, in falling order and, where they are equal, in that of
        hypothesis and token: one of the first K that ends is finished, the first K others live on.
        """
        totals = np.array([h.total for h in self.live])[:, None] + logprobs  # (K, V)
        flat = totals.ravel()
        count = min(2 * self.width, int(np.isfinite(flat).sum()))
        least = np.partition(flat, -count)[-count]
        best = np.flatnonzero(flat >= least)
        best = best[np.lexsort((best, -flat[best]))][:count]
        live: list[Hypothesis] = []
        parents: list[int] = []
        ended = list(self.ended)
        for rank, (row, token) in enumerate(zip(*np.unravel_index(best, totals.shape), strict=True)):
            before = self.live[row]
            covered = before.coverage + weights[row]
            new = Hypothesis((*before.tokens, int(token)), (*before.logprobs, float(logprobs[row, token])), covered)
            if token == END:
                if rank < self.width:
                    ended.append((self.score(new), "stop", new))
            elif len(new.tokens) == max_tokens:
                ended.append((self.score(new), "length", new))
            elif len(live) < self.width:
                live.append(new)
                parents.append(int(row))
        ended.sort(key=lambda item: -item[0])
        return dataclasses.replace(self, live=tuple(live), ended=tuple(ended), parents=tuple(parents))

    @property
    def done(self) -> bool:
        """Whether no live hypothesis can still be among the best `width`: scores only fall, if lengths stay alike."""
        if not self.live:
            return True
        if len(self.ended) < self.width:
            return False
        return self.ended[self.width - 1][0] >= max(self.score(h) for h in self.live)

    def score(self, hypothesis: Hypothesis) -> float:
        """Log-probability over length normalization, and the penalty for source positions without attention."""
        length = float(((5 + len(hypothesis.tokens)) / 6) ** self.length_penalty)
        coverage = 0.0
        if self.coverage_penalty:
            seen = np.clip(hypothesis.coverage, SMALL, 1.0)
            coverage = self.coverage_penalty * float(np.log(seen).sum())
        return hypothesis.total / length + coverage
