"""How near the bare engine a server comes, beside others that serve the same model: one image per request, all over loopback HTTP.

Blocks of load alternate between Atelier and what it is compared with, so that both meet the same noise; a ratio is the median over
pairs of neighbouring blocks. The limit is the engine with its encoder in a process of its own.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.export import SPEED_MODEL, SPEED_RECIPE, ensure
from benchmarks.limit import Limit
from benchmarks.load import Load, Result
from benchmarks.load import run as send
from benchmarks.peers import run as peers
from benchmarks.peers.run import BODY, Peer
from benchmarks.sabotage import renamed
from export.archive import archive
from export.assemble import environment
from handlers.bundle import Bundle

CLIENTS = 32


class Bench:
    """The blocks of one run, and the notes they leave."""

    def __init__(self, quick: bool) -> None:
        self.pairs, self.seconds = (3, 3.0) if quick else (5, 4.0)
        self.spreads: dict[str, list[float]] = {}
        self._seed = 1

    def load(self, peer: Peer, clients: int, seconds: float | None = None, rate: float | None = None) -> Result:
        """One block; every request of the whole run has a seed of its own."""
        self._seed += 1_000_000
        seconds = seconds or self.seconds
        return send(Load(peer.address, peer.path, BODY, seconds, 0.5, clients, rate, first_seed=self._seed))

    def throughput(self, peer: Peer, clients: int = CLIENTS) -> float:
        """Images a second of a closed loop."""
        result = self.load(peer, clients)
        if not result.good_per_s:
            raise RuntimeError(f"{peer.name} answered nothing within {self.seconds:g} s: {result.counts}")
        return result.good_per_s

    def ratio(self, name: str, ours: Callable[[], float], theirs: Callable[[], float]) -> float:
        """Median of ours over theirs in alternating blocks."""
        pairs = [(ours(), theirs()) for _ in range(self.pairs)]
        ratios = [round(a / b, 4) for a, b in pairs]
        self.spreads[name] = ratios
        print(f"{name}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})", flush=True)
        return round(statistics.median(ratios), 3)


def run(quick: bool, model: str = "hdgan") -> dict[str, Any]:
    """All figures; builds the model if it is absent."""
    name = SPEED_MODEL if model == "hdgan" else model
    training = (
        [*SPEED_RECIPE, "--world-size", "64"] if model == "hdgan" else [model, "--name", name, "--preset", "demo"]
    )
    bundle = ensure(name, training, quick)
    bench = Bench(quick)
    figures: dict[str, Any] = {}
    throughputs: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as store, contextlib.ExitStack() as stack:
        path = archive(name, Path(store))
        began = time.monotonic()
        ours = stack.enter_context(peers.ours(path))
        figures["ready_s"] = round(time.monotonic() - began, 1)
        limit = stack.enter_context(Limit(bundle.directory))
        figures["fraction_of_engine"] = bench.ratio(
            "fraction_of_engine", lambda: bench.throughput(ours), lambda: limit.block(CLIENTS, bench.seconds)[0]
        )
        throughputs["atelier"] = bench.throughput(ours)
        throughputs["engine and encoder, no server"] = limit.block(CLIENTS, bench.seconds)[0]
        figures |= one_client(bench, ours, limit)
        figures |= memory(ours, limit)
        figures |= overload(bench, ours, throughputs["atelier"])
        curves = {"atelier": latency_curve(bench, ours, throughputs["atelier"], quick)}
        compared: tuple[tuple[str, Callable[[], contextlib.AbstractContextManager[Peer | None]]], ...] = (
            ("ratio_vs_fastapi_batcher", lambda: peers.fastapi(bundle)),
            ("ratio_vs_litserve", lambda: peers.litserve(bundle)),
            ("ratio_vs_stock_b8", lambda: peers.stock(name, 8)),
            ("ratio_vs_stock_b1", lambda: peers.stock(name, 1)),
        )
        for key, others in compared:
            with others() as peer:
                figures[key] = None if peer is None else compare(bench, key, ours, peer, throughputs)
                if peer is not None and key == "ratio_vs_fastapi_batcher":
                    curves[peer.name] = latency_curve(bench, peer, throughputs[peer.name], quick)
        figures |= batching(bench, bundle, ours, Path(store), quick)
    figures |= {
        "images_per_s": round(throughputs["atelier"], 1),
        "spreads": bench.spreads,
        "environment": environment(),
        "quick": quick,
    }
    print(f"report: {report(figures, throughputs, curves)}")
    return figures


def one_client(bench: Bench, ours: Peer, limit: Limit) -> dict[str, Any]:
    """What the way through the server adds to the engine for a single client."""
    added, bare = [], []
    for _ in range(bench.pairs):
        p50 = bench.load(ours, 1).p50_ms
        engine = limit.block(1, bench.seconds)[1]
        added.append(round(p50 - engine, 3))
        bare.append(engine)
    bench.spreads["added_p50_ms"] = added
    print(f"added_p50_ms: {statistics.median(added):.2f} over {statistics.median(bare):.2f} ms", flush=True)
    return {"added_p50_ms": round(statistics.median(added), 2), "engine_p50_ms": round(statistics.median(bare), 2)}


def memory(ours: Peer, limit: Limit) -> dict[str, Any]:
    """Resident memory after load: what serving costs beside the engine itself."""
    assert ours.server is not None
    proxy, engine, jvm = (
        sum(p.memory_info().rss for p in group) / 2**20
        for group in (ours.server.workers(), ours.server.engines(), [ours.server.jvm()])
    )
    return {"worker_over_engine_mb": round(proxy + engine - limit.memory_mb), "jvm_mb": round(jvm)}


def overload(bench: Bench, ours: Peer, capacity: float) -> dict[str, Any]:
    """Three times the requests that can be served: what is served stays, the rest is refused fast."""
    shares, refused, errors = [], [], 0
    for _ in range(bench.pairs):
        result = bench.load(ours, 512, rate=3 * capacity)
        shares.append(result.good_per_s / capacity)
        refused.append(result.refused_p99_ms)
        errors += result.counts.get("error", 0)
    bench.spreads["overload_goodput"] = [round(share, 3) for share in shares]
    return {
        "overload_goodput": round(statistics.median(shares), 3),
        "overload_503_p99_ms": round(statistics.median(refused), 1),
        "overload_errors": errors,
    }


def latency_curve(bench: Bench, peer: Peer, capacity: float, quick: bool) -> list[tuple[float, float, float]]:
    """(offered requests a second, p50, p99) from a tenth of the capacity to just over it."""
    points = []
    for share in (0.2, 0.5, 0.8, 0.95) if quick else (0.1, 0.25, 0.4, 0.55, 0.7, 0.8, 0.9, 0.95, 1.05):
        result = bench.load(peer, 512, rate=share * capacity)
        points.append((round(share * capacity, 1), result.p50_ms, result.p99_ms))
    return points


def compare(bench: Bench, key: str, ours: Peer, peer: Peer, throughputs: dict[str, float]) -> float:
    """The ratio to a peer, which is warmed first."""
    bench.load(peer, CLIENTS, 3.0)
    ratio = bench.ratio(key, lambda: bench.throughput(ours), lambda: bench.throughput(peer))
    throughputs[peer.name] = bench.throughput(peer)
    return ratio


def batching(bench: Bench, bundle: Bundle, ours: Peer, store: Path, quick: bool) -> dict[str, Any]:
    """Batches of up to 32 against none at all, from few to many clients."""
    single = renamed(bundle, "single", store, batch_size=1)
    with peers.ours(single) as off:
        found = {
            clients: bench.ratio(
                f"batching_on_over_off_{clients}",
                lambda clients=clients: bench.throughput(ours, clients),  # type: ignore[misc]
                lambda clients=clients: bench.throughput(off, clients),  # type: ignore[misc]
            )
            for clients in ((4, 64) if quick else (4, 8, 16, 32, 64))
        }
    return {"batching_on_over_off": {str(clients): ratio for clients, ratio in found.items()}}


def report(figures: dict[str, Any], throughputs: dict[str, float], curves: dict[str, Any]) -> Path:
    """The page."""
    lines = {f"{name}, {rank}": [(x, y) for x, *p in points for y in [p[i]]] for name, points in curves.items() for i, rank in enumerate(("p50", "p99"))}  # fmt: skip
    rows = [("ratio", "median", "lowest", "highest", "pairs")]
    rows += [(n, f"{statistics.median(v):.3f}", f"{min(v):.3f}", f"{max(v):.3f}", str(len(v))) for n, v in figures["spreads"].items()]  # fmt: skip
    text = "Requests are due at random times (Poisson); latency counts from when a request was due."
    return page.write(
        "serve",
        figures,
        [
            page.Section(
                "Throughput", f"{CLIENTS} clients in a closed loop.", page.bars(throughputs, "images a second")
            ),
            page.Section(
                "Latency against load", text, page.curves(lines, "requests a second", "milliseconds", log=True)
            ),
            page.Section("Spread", "Each pair is two neighbouring blocks of load.", rows=rows),
        ],
    )
