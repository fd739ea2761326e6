"""Blocks of load that alternate between two servers, so that both meet the same noise, and the notes a run leaves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.load import Load, send
from benchmarks.peers.process import BODY, Peer, PeerError
from benchmarks.result import MAX_BEHIND_MS, Result
from benchmarks.summary import spread

CLIENTS = 32
WARM_SECONDS = 0.5  # at the head of every block: connections are opened, the last block's threads come to rest
_SEEDS = 1_000_000  # of a block, more than it can use


class Bench:
    """Pairs of blocks and the figures measured in them."""

    def __init__(self, quick: bool) -> None:
        self.pairs, self.seconds, self.short = (3, 3.0, 1.5) if quick else (5, 4.0, 4.0)
        self.spreads: dict[str, list[float]] = {}
        self._throughputs: dict[str, list[float]] = {}
        self._open: list[tuple[str, float, Result]] = []  # server, requests a second, and how its open loop went
        self._seed = 1

    def load(self, peer: Peer, clients: int, seconds: float | None = None, rate: float | None = None) -> Result:
        """One block; every request of the whole run has a seed of its own, so nothing can be answered from memory.

        An open loop (with a rate) whose generator was late is said so at once, and stays in `punctuality`.
        """
        self._seed += _SEEDS
        seconds = seconds or self.seconds
        result = send(Load(peer.address, peer.path, BODY, seconds, WARM_SECONDS, clients, rate, first_seed=self._seed))
        if rate is not None:
            self._open.append((peer.name, rate, result))
        if result.late:
            print(f"NOT VALID: {_told(peer.name, rate, result)}", flush=True)
        return result

    def punctuality(self) -> dict[str, Any]:
        """How late the load generator was in the open loops of this run, and which blocks are not valid for that."""
        sent = [result for _, _, result in self._open if not math.isnan(result.behind_p99_ms)]
        return {
            "behind_p99_ms": max((result.behind_p99_ms for result in sent), default=None),
            "behind_max_ms": max((result.behind_max_ms for result in sent), default=None),
            "late_blocks": [_told(*block) for block in self._open if block[-1].late],
            "open_blocks": len(self._open),
        }

    def throughput(self, peer: Peer, clients: int = CLIENTS, seconds: float | None = None) -> float:
        """Images a second of a closed loop. Raises `PeerError` if there were none."""
        result = self.load(peer, clients, seconds)
        if not result.good_per_s:
            raise PeerError(peer.name, f"answered nothing within {result.seconds:g} s: {result.counts}")
        if clients == CLIENTS:
            self.count(peer.name, result.good_per_s)
        return result.good_per_s

    def count(self, name: str, items_per_s: float) -> float:
        """Note a throughput at 32 clients."""
        self._throughputs.setdefault(name, []).append(items_per_s)
        return items_per_s

    def throughputs(self) -> dict[str, float]:
        """Median throughput at 32 clients of everything that was loaded so."""
        return {name: round(statistics.median(values), 1) for name, values in self._throughputs.items()}

    def ratio(self, name: str, ours: Callable[[], float], theirs: Callable[[], float]) -> float:
        """Median of ours over theirs in neighbouring blocks: ours, theirs, ours, theirs, ..."""
        return self.note(name, [ours() / theirs() for _ in range(self.pairs)], 3)

    def note(self, name: str, values: Sequence[float], digits: int) -> float:
        """Keep the measured values for the spread, print it, and return the median."""
        self.spreads[name] = [round(value, 4) for value in values]
        found = spread(self.spreads[name])
        print(f"{name}: {found}", flush=True)
        return round(found.median, digits)


def _told(name: str, rate: float | None, result: Result) -> str:
    return (
        f"{name} at {rate or 0:.0f} requests a second: the load generator was {result.behind_p99_ms:g} ms behind at "
        f"p99 ({result.behind_max_ms:g} ms at most), wanted {MAX_BEHIND_MS:g} ms; run it with less else on the machine"
    )
