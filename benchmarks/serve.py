"""How near the bare engine a server comes, and other servers of the same model: one image a request.

Ours is asked at its unix socket, the others over loopback TCP. Blocks of load alternate between Atelier and a server it
is compared with, so that both meet the same noise; a ratio is the median over pairs of neighbouring blocks. The upper
bound is the engine with its encoder in a process of its own.
Both servers of a pair stay up while the other one is measured; the processor time that each takes when idle is
measured, too (LitServe polls: 0.06 of one). All figures are those of an engine at default priority but where the name
says `_nice_-15`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import serve_page
from benchmarks.bare_engine import BareEngine
from benchmarks.blocks import CLIENTS, Bench
from benchmarks.export import SPEED_MODEL, SPEED_RECIPE, ensure
from benchmarks.overload import ENGINE_NICE, Point, latency_curve, overload
from benchmarks.peers import launch
from benchmarks.peers.process import Peer, PeerError
from benchmarks.peers.stock import stock
from benchmarks.sabotage import renamed
from benchmarks.summary import spread
from export.archive import archive
from handlers.bundle import Bundle

ENGINE = "engine and encoder, no server"
PEER_WARM_SECONDS = 2.0
BATCHING_CLIENTS = (4, 16, 64)


def options(parser: argparse.ArgumentParser) -> None:
    """The options it has besides --quick and --json."""
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
    curves: dict[str, list[Point]] = {}
    servers: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as store, contextlib.ExitStack() as stack:
        path = archive(name, Path(store))
        began = time.monotonic()
        ours = stack.enter_context(launch.ours(path))
        figures["ready_s"] = round(time.monotonic() - began, 1)
        assert ours.server is not None
        figures["engine_nice"] = ours.server.engines()[0].nice()
        bare = stack.enter_context(BareEngine(bundle.directory))
        figures["fraction_of_engine"] = bench.ratio(
            "fraction_of_engine",
            lambda: bench.throughput(ours),
            lambda: bench.count(ENGINE, bare.block(CLIENTS, bench.seconds)[0]),
        )
        figures |= one_client(bench, ours, bare)
        figures |= memory(ours, bare)
        with launch.prioritized(path, ENGINE_NICE) as prioritized:
            figures |= overload(bench, ours, prioritized)
        curves[ours.name] = latency_curve(bench, ours, quick)
        servers[ours.name] = costs(ours)
        compared: tuple[tuple[str, Callable[[], contextlib.AbstractContextManager[Peer | None]]], ...] = (
            ("ratio_vs_fastapi_batcher", lambda: launch.fastapi(bundle)),
            ("ratio_vs_litserve", lambda: launch.litserve(bundle)),
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
        "latency_curves": {server: [dataclasses.asdict(at) for at in points] for server, points in curves.items()},
        "load_generator": bench.punctuality(),
        "spreads": bench.spreads,
        "load_average_before": load_average,
    }
    print(f"report: {serve_page.write(figures, throughputs, curves)}")
    return figures


def one_client(bench: Bench, ours: Peer, bare: BareEngine) -> dict[str, Any]:
    """Latency that the server adds to engine and encoder for a single client, and where it goes.

    The account is in means, from the server's own counts in the same block: an answer's time at the proxy, and the time
    of engine and encoder in it. The client's time beyond the proxy's is front end, transport and client.
    """
    assert ours.server is not None
    added, alone = [], list[float]()
    parts: dict[str, list[float]] = {"front_end": [], "proxy_and_socket_pair": [], "engine_slower_in_company": []}
    for _ in range(bench.pairs):
        before = ours.server.metrics()
        result = bench.load(ours, 1)
        after = ours.server.metrics()
        alone.append(bare.block(1, bench.seconds)[1])
        added.append(result.p50_ms - alone[-1])
        answer, engine, encoder = (mean_ms(before, after, name) for name in ("answer", "engine", "encode"))
        parts["front_end"].append(result.p50_ms - answer)
        parts["proxy_and_socket_pair"].append(answer - engine - encoder)
        parts["engine_slower_in_company"].append(engine + encoder - alone[-1])
    return {
        "added_p50_ms": bench.note("added_p50_ms", added, 2),
        "engine_p50_ms": round(spread(alone).median, 2),
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


def memory(ours: Peer, bare: BareEngine) -> dict[str, Any]:
    """Resident memory after load, of the worker beyond the bare engine's and of the JVM."""
    assert ours.server is not None
    proxies, engines, jvm = (
        sum(process.memory_info().rss for process in group) / 2**20
        for group in (ours.server.workers(), ours.server.engines(), [ours.server.jvm()])
    )
    worker = proxies + engines
    return {
        "worker_mb": round(worker),
        "worker_over_engine_mb": round(worker - bare.memory_mb),
        "jvm_mb": round(jvm),
    }


def versus(bench: Bench, key: str, ours: Peer, peer: Peer) -> float:
    """Throughput over a peer's, both warm."""
    return bench.ratio(key, lambda: bench.throughput(ours), lambda: bench.throughput(peer))


def costs(peer: Peer) -> dict[str, float]:
    """Processor time of a server while idle, resident memory of all its processes."""
    resident = sum(process.memory_info().rss for process in peer.processes()) / 2**20
    return {"idle_cores": round(peer.idle_cores(), 3), "memory_mb": round(resident)}


def batching(bench: Bench, bundle: Bundle, ours: Peer, store: Path) -> dict[str, Any]:
    """Throughput with batches over throughput without, from few to many clients."""
    single = renamed(bundle, "single", store, batch_size=1)
    found: dict[str, float] = {}
    with launch.ours(single) as off:
        off.name = "atelier without batches"
        for clients in BATCHING_CLIENTS:
            found[str(clients)] = bench.ratio(
                f"batching_on_over_off_{clients}",
                functools.partial(bench.throughput, ours, clients, bench.short),
                functools.partial(bench.throughput, off, clients, bench.short),
            )
    return {"batching_on_over_off": found}
