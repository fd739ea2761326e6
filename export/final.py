"""The fastest candidates among each other: each was measured beside the reference alone, at another moment."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import numpy as np

from export.measure import Contestant, Inputs
from export.speed import MIN_BLOCKS, PAUSE_SECONDS, Effort, clear, spread

FINALISTS = 3  # at most, the reference's competitors that come near the fastest
NEAR = 0.7  # of the fastest one's speed beside the reference: noise made more of a difference than that


@dataclasses.dataclass(frozen=True)
class Final:
    """Candidates in the order in which they are to be served, and a sentence about how that was found."""

    order: tuple[str, ...]
    said: str


def finalists(speeds: Sequence[tuple[str, float]]) -> list[str]:
    """The names of those (name, speedup) that may be the fastest, in the order given."""
    fastest = sorted(speeds, key=lambda item: -item[1])[:FINALISTS]
    near = {name for name, speed in fastest if speed >= NEAR * fastest[0][1]}
    return [name for name, _ in speeds if name in near]


def final(contestants: Sequence[Contestant], inputs: Inputs, effort: Effort) -> Final:
    """Run the contestants in rounds of blocks, all beside each other, until the fastest is known.

    They are given in order of preference, the one nearest to the reference first: a later one is served first only if
    it is faster beyond the noise of the rounds, so that two builds on a noisy machine come to the same.
    """
    for contestant in contestants:
        contestant.run(inputs, 0.0)
    stop = time.monotonic() + effort.seconds
    rounds: list[list[float]] = []
    while len(rounds) < effort.most_blocks:
        if len(rounds) >= MIN_BLOCKS and time.monotonic() >= stop:
            break
        if len(rounds) >= effort.blocks and _settled(rounds):
            break
        medians = [0.0] * len(contestants)
        for at in range(len(contestants)):
            number = (at + len(rounds)) % len(contestants)  # nobody always comes after the same one
            time.sleep(PAUSE_SECONDS)
            medians[number] = float(np.median(contestants[number].run(inputs, effort.block_seconds)))
        rounds.append(medians)
    names = [contestant.name for contestant in contestants]
    best = _best(rounds)
    middle = np.median(rounds, axis=0)
    rest = sorted((i for i in range(len(names)) if i != best), key=lambda i: middle[i])
    others = []
    for i in rest:
        low, high = spread([row[i] / row[best] for row in rounds])
        word = "faster than" if low > 1 else "undecided against"
        others.append(f"{word} {names[i]} ({low:.2f} to {high:.2f} times as fast)")
    said = f"side by side in {len(rounds)} rounds {names[best]} is {', '.join(others)}"
    return Final((names[best], *(names[i] for i in rest)), said)


def _best(rounds: Sequence[Sequence[float]]) -> int:
    """The first that no later one beats beyond the noise."""
    best = 0
    for number in range(1, len(rounds[0])):
        if spread([row[best] / row[number] for row in rounds])[0] > 1:
            best = number
    return best


def _settled(rounds: Sequence[Sequence[float]]) -> bool:
    """Whether the best one's ratio to every other lies clearly on one side of 1."""
    best = _best(rounds)
    others = [i for i in range(len(rounds[0])) if i != best]
    return all(clear([row[i] / row[best] for row in rounds], 1.0) for i in others)
