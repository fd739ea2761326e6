"""What the gateway costs, and what it holds: against the same requests straight to TorchServe's unix socket.

Blocks of load alternate between the gateway (with keys, limits, metrics and the log of requests) and the socket behind
it, one image a request: `hdgan` at paper size, 64x64, and a contact sheet of it that takes over 20 ms. Then somebody's
ordinary requests beside 150 that are half-sent and as many that drip, 200 streams at once, and a stop under load.
A second gateway signs every image, with a certificate for trials.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.blocks import CLIENTS, WARM_SECONDS, Bench
from benchmarks.export import SPEED_MODEL, SPEED_RECIPE, ensure
from benchmarks.gateway_load import Stop, beside, held_streams
from benchmarks.gateway_page import page_interactive_ms
from benchmarks.load import SEED, Load, send
from benchmarks.result import Result
from benchmarks.sabotage import renamed
from benchmarks.server import ROOT, Server, running
from benchmarks.tiny import tiny_model
from export.archive import archive
from gateway.provenance import trial
from handlers.runtimes.device import machine

STREAMS = 200
SHEET = '"n": 4, "grid": true'  # one image that takes over 20 ms
IMAGES = "/v1/images/generations"
_SEEDS = 1_000_000  # of a block, more than it can use


@dataclasses.dataclass(frozen=True)
class Target:
    """Where a block's requests go; `body` as a `Load` has it."""

    address: str
    path: str
    body: str
    headers: dict[str, str]


def run(quick: bool) -> dict[str, Any]:
    """All figures; builds the models if they are absent."""
    ensure(SPEED_MODEL, [*SPEED_RECIPE, "--world-size", "64"], quick)
    bench, load_average = Bench(quick), round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = tiny_model(folder, "charlm", "texts")
        (folder / "store").mkdir()
        shutil.copy(archive(SPEED_MODEL, folder / "archives"), folder / "store")
        renamed(texts, "texts", folder / "store")
        with serving(folder, folder / "store") as (server, key):
            assert server.gateway is not None
            figures = costs(bench, server, key)
            figures |= neighbour(bench, server, key, quick)
            figures |= streams(server, key)
            figures["page_interactive_ms"] = page_interactive_ms(server.gateway)
            stop = Stop(server, {"Authorization": f"Bearer {key}"}, SPEED_MODEL)
            figures["lost_on_sigterm"], figures["stopped_with"] = stop.lost, stop.outcomes
        (folder / "signed").mkdir()
        with serving(folder / "signed", folder / "store", signature(folder / "certificates")) as (server, key):
            figures |= signed_costs(bench, server, key)
    return {
        **figures,
        "device_class": machine().cpu,
        "spreads": bench.spreads,
        "load_average_before": load_average,
    }


@contextmanager
def serving(folder: Path, store: Path, signed: Mapping[str, str] | None = None) -> Iterator[tuple[Server, str]]:
    """A server behind its gateway, and a key for it; `signed`: the setting `signature`."""
    database = f"sqlite:///{folder}/gateway.db"
    environment = {"ATELIER_GATEWAY_DATABASE": database, "ATELIER_GATEWAY_KEYS": "required"}
    made = subprocess.run(
        [sys.executable, "-m", "gateway", "keys", "create", "--name", "benchmark", "--database", database],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        raise RuntimeError(f"no key could be made: {made.stderr.strip()}")
    environment |= {"ATELIER_GATEWAY_PORT": "0", "ATELIER_GATEWAY_LOG_LEVEL": "info"}
    if signed is not None:
        environment["ATELIER_GATEWAY_SIGNATURE"] = json.dumps(signed)
    with running(store, folder / "run", "--gateway", "--drain-seconds", "30", environment=environment) as server:
        yield server, made.stdout.strip()


def signature(folder: Path) -> dict[str, str]:
    """The setting of a certificate for trials, which is made in a folder."""
    trial.make(folder)
    return {"certificate": str(folder / trial.CHAIN), "key": str(folder / trial.KEY)}


def targets(server: Server, key: str, more: str = "") -> dict[str, Target]:
    """The same request straight, by the gateway's own route, and by OpenAI's (whose answer is base64 in JSON)."""
    assert server.gateway is not None
    headers, own = {"Authorization": f"Bearer {key}"}, f'"seed": {SEED}{", " if more else ""}{more}'
    asked = f'{{"model": "{SPEED_MODEL}", "prompt": "", {own}}}'
    return {
        "straight": Target(server.inference, f"/predictions/{SPEED_MODEL}", f"{{{own}}}", {}),
        "native": Target(server.gateway, f"/api/generate/{SPEED_MODEL}", f"{{{own}}}", headers),
        "openai": Target(server.gateway, IMAGES, asked, headers),
    }


class Blocks:
    """Blocks of load, each with seeds of its own."""

    def __init__(self) -> None:
        self._seed = 1

    def load(self, target: Target, clients: int, seconds: float) -> Result:
        """One block. Raises `RuntimeError` if something was answered otherwise than with 200."""
        self._seed += _SEEDS
        result = send(
            Load(
                target.address,
                target.path,
                target.body,
                seconds,
                WARM_SECONDS,
                clients,
                first_seed=self._seed,
                headers=target.headers,
            )
        )
        if set(result.counts) != {"200"}:
            raise RuntimeError(f"{target.address}{target.path} answered {result.counts}, wanted 200 alone")
        return result


def costs(bench: Bench, server: Server, key: str) -> dict[str, Any]:
    """Latency added for one client, and the fraction of the throughput that is left at 32 clients."""
    blocks, small, sheets = Blocks(), targets(server, key), targets(server, key, SHEET)
    for target in (*small.values(), *sheets.values()):
        blocks.load(target, CLIENTS, bench.short)  # warm
    added: dict[str, list[float]] = {"native": [], "openai": []}
    for _ in range(bench.pairs):
        straight = blocks.load(small["straight"], 1, bench.seconds).p50_ms
        for name, values in added.items():
            values.append(blocks.load(small[name], 1, bench.seconds).p50_ms - straight)

    def fraction(key: str, of: dict[str, Target], name: str) -> float:
        return bench.ratio(
            key,
            lambda: blocks.load(of[name], CLIENTS, bench.seconds).good_per_s,
            lambda: blocks.load(of["straight"], CLIENTS, bench.seconds).good_per_s,
        )

    alone = blocks.load(sheets["straight"], 1, bench.seconds)
    return {
        "added_p50_ms": bench.note("added_p50_ms", added["openai"], 2),
        "added_p50_ms_native": bench.note("added_p50_ms_native", added["native"], 2),
        "throughput_fraction": fraction("throughput_fraction", small, "openai"),
        "throughput_fraction_native": fraction("throughput_fraction_native", small, "native"),
        "throughput_fraction_20ms": fraction("throughput_fraction_20ms", sheets, "openai"),
        "sheet_ms": round(alone.p50_ms, 1),
    }


def signed_costs(bench: Bench, server: Server, key: str) -> dict[str, Any]:
    """The fraction of the throughput that is left at 32 clients where every image is signed."""
    blocks, small = Blocks(), targets(server, key)
    found = {}
    for name, figure in (("openai", "throughput_fraction_signed"), ("native", "throughput_fraction_signed_native")):
        blocks.load(small[name], CLIENTS, bench.short)  # warm
        found[figure] = bench.ratio(
            figure,
            lambda target=small[name]: blocks.load(target, CLIENTS, bench.seconds).good_per_s,  # type: ignore[misc]
            lambda: blocks.load(small["straight"], CLIENTS, bench.seconds).good_per_s,
        )
    return found


def neighbour(bench: Bench, server: Server, key: str, quick: bool) -> dict[str, Any]:
    """What one ordinary client waits beside half-sent requests and those that drip."""
    target, seconds = targets(server, key)["openai"], 10.0 if quick else 60.0
    port = int(target.address.rpartition(":")[2])
    restarts = server.metrics()["atelier_gateway_restarts_total"]
    with beside(port) as crowd:
        result = Blocks().load(target, 1, seconds)
    if server.metrics()["atelier_gateway_restarts_total"] != restarts:
        raise RuntimeError("the gateway was started again meanwhile")
    return {
        "neighbour_p99_ms": round(result.p99_ms, 1),
        "neighbour_max_ms": round(result.max_ms, 1),
        "half_sent": crowd.sent,
    }


def streams(server: Server, key: str) -> dict[str, Any]:
    """How many of so many streams at once end whole, and the gateway's memory meanwhile."""
    assert server.gateway is not None
    body = json.dumps({"model": "texts", "prompt": "a", "max_tokens": 200, "stream": True, "temperature": 0.7})
    held, peak = held_streams(server, STREAMS, "/v1/completions", body, key)
    return {"streams_held": held, "memory_mb": round(peak / 2**20, 1)}
