"""How near the bare engine a server comes, beside others that serve the same model: one image per request, all over loopback HTTP.

Blocks of load alternate between Atelier and what it is compared with, so that both meet the same noise; a ratio is the median over
pairs of neighbouring blocks. The limit is the engine with its encoder in a process of its own. Both servers of a pair stay up while
the other one is measured; what each takes of the processors when idle is measured, too (LitServe polls: 0.06 of one).
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.blocks import CLIENTS, Bench
from benchmarks.export import SPEED_MODEL, SPEED_RECIPE, ensure
from benchmarks.limit import Limit
from benchmarks.peers import run as peers
from benchmarks.peers.process import Peer, PeerError
from benchmarks.peers.stock import stock
from benchmarks.sabotage import renamed
from benchmarks.summary import spread
from export.archive import archive
from export.assemble import environment
from handlers.bundle import Bundle

ENGINE = "engine and encoder, no server"
CONNECTIONS = 512  # of an open loop: more than ours lets wait, so that it has to refuse
OVERLOAD = 3
PEER_WARM_SECONDS = 2.0
BATCHING_CLIENTS = (4, 16, 64)

# offered requests a second, p50 ms, p99 ms, share of the requests that were answered with 200
Curve = list[tuple[float, float, float, float]]


def options(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes besides --quick and --json."""
    parser.add_argument(
        "--model",
        default="hdgan",
        choices=("hdgan", "dcgan"),
        help="hdgan: paper size, any weights (default); dcgan: the demo's",
    )


def run(quick: bool, model: str = "hdgan") -> dict[str, Any]:
    """All figures; builds the model if it is absent."""
    load_average = round(os.getloadavg()[0], 2)
    name, training = ("dcgan", ["dcgan", "--name", "dcgan", "--preset", "demo"])
    if model == "hdgan":
        name, training = SPEED_MODEL, [*SPEED_RECIPE, "--world-size", "64"]
    bundle = ensure(name, training, quick)
    bench = Bench(quick)
    figures: dict[str, Any] = {"model": model}
    curves: dict[str, Curve] = {}
    servers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as store, contextlib.ExitStack() as stack:
        path = archive(name, Path(store))
        began = time.monotonic()
        ours = stack.enter_context(peers.ours(path))
        figures["ready_s"] = round(time.monotonic() - began, 1)
        limit = stack.enter_context(Limit(bundle.directory))
        figures["fraction_of_engine"] = bench.ratio(
            "fraction_of_engine",
            lambda: bench.throughput(ours),
            lambda: bench.count(ENGINE, limit.block(CLIENTS, bench.seconds)[0]),
        )
        figures |= one_client(bench, ours, limit)
        figures |= memory(ours, limit)
        figures |= overload(bench, ours)
        curves[ours.name] = latency_curve(bench, ours, quick)
        servers[ours.name] = costs(ours)
        compared: tuple[tuple[str, Callable[[], contextlib.AbstractContextManager[Peer | None]]], ...] = (
            ("ratio_vs_fastapi_batcher", lambda: peers.fastapi(bundle)),
            ("ratio_vs_litserve", lambda: peers.litserve(bundle)),
            ("ratio_vs_stock_b8", lambda: stock(name, 8)),
            ("ratio_vs_stock_b1", lambda: stock(name, 1)),
        )
        for key, others in compared:
            figures[key] = None
            try:
                with others() as peer:
                    if peer is not None:
                        bench.load(peer, CLIENTS, PEER_WARM_SECONDS)
                        servers[peer.name] = costs(peer)
                        figures[key] = versus(bench, key, ours, peer)
                        curves[peer.name] = latency_curve(bench, peer, quick)
            except PeerError as error:  # one that fails takes its own figure along, not the run
                if error.peer == ours.name:
                    raise
                print(f"{key}: not measured: {error}", flush=True)
        figures |= batching(bench, bundle, ours, Path(store))
    throughputs = bench.throughputs()
    figures |= {
        "images_per_s": throughputs[ours.name],
        "engine_images_per_s": throughputs[ENGINE],
        "servers": {server: {"images_per_s": throughputs.get(server), **of} for server, of in servers.items()},
        "spreads": bench.spreads,
        "load_average_before": load_average,
        "environment": environment(),
        "quick": quick,
    }
    print(f"report: {report(figures, throughputs, curves)}")
    return figures


def one_client(bench: Bench, ours: Peer, limit: Limit) -> dict[str, Any]:
    """What the way through the server adds to engine and encoder for a single client, and where it goes.

    The account is in means, from the server's own counts while it is asked: an answer's time at the proxy, and the time of
    engine and encoder in it. What the client waits beyond the proxy's is front end, transport and client.
    """
    assert ours.server is not None
    added, bare = [], []
    parts: dict[str, list[float]] = {"front_end": [], "proxy_and_socket_pair": [], "engine_slower_in_company": []}
    for _ in range(bench.pairs):
        before = ours.server.metrics()
        result = bench.load(ours, 1)
        after = ours.server.metrics()
        bare.append(limit.block(1, bench.seconds)[1])
        added.append(result.p50_ms - bare[-1])
        answer, engine, encoder = (mean_ms(before, after, name) for name in ("answer", "engine", "encode"))
        parts["front_end"].append(result.p50_ms - answer)
        parts["proxy_and_socket_pair"].append(answer - engine - encoder)
        parts["engine_slower_in_company"].append(engine + encoder - bare[-1])
    return {
        "added_p50_ms": bench.note("added_p50_ms", added, 2),
        "engine_p50_ms": round(spread(bare).median, 2),
        "added_account_ms": {part: bench.note(f"added_{part}_ms", values, 2) for part, values in parts.items()},
    }


def mean_ms(before: Mapping[str, float], after: Mapping[str, float], stage: str) -> float:
    """The mean of a histogram of the server's over the time between two looks at its metrics."""
    name = f"atelier_{stage}_seconds"
    total, count = (
        sum(after[key] - before.get(key, 0.0) for key in after if key.startswith(f"{name}_{kind}{{"))
        for kind in ("sum", "count")
    )
    return 1e3 * total / count


def memory(ours: Peer, limit: Limit) -> dict[str, Any]:
    """Resident memory after load: what serving costs beside the engine itself."""
    assert ours.server is not None
    proxies, engines, jvm = (
        sum(process.memory_info().rss for process in group) / 2**20
        for group in (ours.server.workers(), ours.server.engines(), [ours.server.jvm()])
    )
    worker = proxies + engines
    return {
        "worker_mb": round(worker),
        "worker_over_engine_mb": round(worker - limit.memory_mb),
        "jvm_mb": round(jvm),
    }


def overload(bench: Bench, ours: Peer) -> dict[str, Any]:
    """Three times the requests that can be served: what is served stays, the rest is refused fast."""
    shares, refused, errors, unsent = [], [], 0, 0
    for _ in range(bench.pairs):
        capacity = bench.throughput(ours)
        result = bench.load(ours, CONNECTIONS, rate=OVERLOAD * capacity)
        shares.append(result.good_per_s / capacity)
        if result.counts.get("503"):
            refused.append(result.refused_p99_ms)
        errors += result.counts.get("error", 0)
        unsent += result.counts.get("unsent", 0)
    return {
        "overload_goodput": bench.note("overload_goodput", shares, 3),
        "overload_503_p99_ms": bench.note("overload_503_p99_ms", refused, 1) if refused else None,
        "overload_errors": errors,
        "overload_unsent": unsent,
    }


def latency_curve(bench: Bench, peer: Peer, quick: bool) -> Curve:
    """What an open loop meets from a tenth of the peer's own capacity to just over it."""
    points = []
    capacity = bench.throughputs()[peer.name]
    for share in (0.3, 0.6, 0.9) if quick else (0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 1.05):
        result = bench.load(peer, CONNECTIONS, bench.short, rate=share * capacity)
        served = result.counts.get("200", 0) / max(1, sum(result.counts.values()))
        points.append((round(share * capacity, 1), result.p50_ms, result.p99_ms, round(served, 4)))
    return points


def versus(bench: Bench, key: str, ours: Peer, peer: Peer) -> float:
    """Throughput over a peer's, both warm."""
    return bench.ratio(key, lambda: bench.throughput(ours), lambda: bench.throughput(peer))


def costs(peer: Peer) -> dict[str, float]:
    """What a server takes of the machine: processor time while idle, resident memory of all its processes."""
    resident = sum(process.memory_info().rss for process in peer.processes()) / 2**20
    return {"idle_cores": round(peer.idle_cores(), 3), "memory_mb": round(resident)}


def batching(bench: Bench, bundle: Bundle, ours: Peer, store: Path) -> dict[str, Any]:
    """Batches of up to 32 against none at all, from few to many clients."""
    single = renamed(bundle, "single", store, batch_size=1)
    found: dict[str, float] = {}
    with peers.ours(single) as off:
        off.name = "atelier without batches"
        for clients in BATCHING_CLIENTS:
            found[str(clients)] = bench.ratio(
                f"batching_on_over_off_{clients}",
                functools.partial(bench.throughput, ours, clients, bench.short),
                functools.partial(bench.throughput, off, clients, bench.short),
            )
    return {"batching_on_over_off": found}


def report(figures: Mapping[str, Any], throughputs: Mapping[str, float], curves: Mapping[str, Curve]) -> Path:
    """The page."""
    pictures = {
        rank: page.curves(
            {name: [(point[0], point[at]) for point in points] for name, points in curves.items()},
            "requests offered a second",
            f"{rank} in milliseconds",
            log=True,
        )
        for at, rank in ((1, "p50"), (2, "p99"))
    }
    offered: list[Sequence[Any]] = [("server", "offered a second", "p50 ms", "p99 ms", "answered with 200")]
    offered += [(name, *point[:3], f"{point[3]:.2%}") for name, points in curves.items() for point in points]
    spreads: list[Sequence[Any]] = [("figure", "median", "lowest", "highest", "times")]
    for name, values in figures["spreads"].items():
        of = spread(values)
        spreads.append((name, f"{of.median:.3f}", f"{of.lowest:.3f}", f"{of.highest:.3f}", of.times))
    beside: list[Sequence[Any]] = [("server", "images a second", "processors while idle", "memory MB")]
    beside += [(name, of["images_per_s"], of["idle_cores"], of["memory_mb"]) for name, of in figures["servers"].items()]
    clients = f"{CLIENTS} clients, each with its next request after its last answer; one image a request, each with a seed of its own."
    due = (
        "Requests are due at random times (Poisson); latency counts from when one was due, of those answered with 200."
    )
    return page.write(
        "serve",
        figures,
        [
            page.Section("Throughput", clients, page.bars(throughputs, "images a second")),
            page.Section("What each takes", "After its warm-up. Memory is that of all its processes.", rows=beside),
            page.Section("Median latency against load", due, pictures["p50"]),
            page.Section("99th percentile of latency against load", due, pictures["p99"], rows=offered),
            page.Section("Spread", "A ratio is that of two neighbouring blocks of load.", rows=spreads),
        ],
    )
