"""Sounds through the server: streams in real time, the first audio, sounds a second against stock TorchServe."""

from __future__ import annotations

import io
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from benchmarks.blocks import CLIENTS, WARM_SECONDS, Bench
from benchmarks.load import SEED, Load, send
from benchmarks.peers import launch
from benchmarks.peers.process import Peer, PeerError
from benchmarks.peers.stock import stock_audio
from benchmarks.result import Result
from export.archive import archive
from handlers.bundle import Bundle
from handlers.engine.choice import open_model
from handlers.generator import Request

STREAM_SECONDS = 2.0  # of sound in each stream
FIRST_AT = 8  # streams at once, when the first audio is timed
MOST_STREAMS = 16
COMPANY = 6  # requests beside one whose bytes are compared
STOCK_BATCH = 8


def streams(bench: Bench, bundle: Bundle, quick: bool) -> tuple[dict[str, Any], dict[str, bool]]:
    """How long a second of sound takes alone, the most streams in real time, the first audio of eight; `agreement`."""
    name = bundle.manifest.name
    seconds = 6.0 if quick else 20.0
    with tempfile.TemporaryDirectory() as store, launch.ours(archive(name, Path(store))) as ours:
        alone = [_stream(ours, 1, seconds, number).p50_ms for number in range(bench.pairs)]
        rtf = bench.note("wavenet_rtf", [ms / 1e3 / STREAM_SECONDS for ms in alone], 3)
        most, worst = 0, dict[int, float]()
        for count in range(2, MOST_STREAMS + 1):
            worst[count] = round(_stream(ours, count, seconds, count).max_ms / 1e3 / STREAM_SECONDS, 3)
            print(f"{count} streams at once: the slowest at {worst[count]} of real time", flush=True)
            if worst[count] >= 1.0:
                break
            most = count
        first = [_stream(ours, FIRST_AT, seconds, number).first_byte_p99_ms for number in range(bench.pairs)]
        same = agreement(bundle, {"seconds": 0.5}, ours)
    figures = {
        "wavenet_rtf": rtf,
        "wavenet_streams_realtime": max(most, 1 if rtf < 1.0 else 0),
        "wavenet_slowest": worst,
        "first_audio_ms": bench.note("first_audio_ms", first, 1),
    }
    return figures, same


def _stream(ours: Peer, clients: int, seconds: float, number: int) -> Result:
    """A closed loop of so many streams. Raises `PeerError` if one failed."""
    body = f'{{"seed": {SEED}, "stream": true, "seconds": {STREAM_SECONDS}}}'
    load = Load(ours.address, ours.path, body, seconds, 0.0, clients, first_seed=1 + number * 100_000 + clients * 1000)
    result = send(load)
    if set(result.counts) != {"200"}:
        raise PeerError(ours.name, f"ended {clients} streams with {result.counts}, wanted 200 alone")
    return result


def versus_stock(bench: Bench, bundle: Bundle) -> tuple[dict[str, Any], dict[str, bool]]:
    """Sounds a second at 32 clients over stock eager TorchServe's, in alternating blocks; `agreement`."""
    name = bundle.manifest.name
    with (
        tempfile.TemporaryDirectory() as store,
        launch.ours(archive(name, Path(store))) as ours,
        stock_audio(name, STOCK_BATCH) as stock,
    ):
        for peer in (ours, stock):
            bench.load(peer, CLIENTS, 2.0 + WARM_SECONDS)
        ratio = bench.ratio("wavegan_ratio_vs_stock", lambda: bench.throughput(ours), lambda: bench.throughput(stock))
        same = agreement(bundle, {}, ours)
        found = bench.throughputs()
    figures = {
        "wavegan_ratio_vs_stock": ratio,
        "wavegan_sounds_per_s": found[ours.name],
        "stock_sounds_per_s": found[stock.name],
        "wavegan_chosen": sorted(set(next(iter(bundle.manifest.choice.values()))[0].values())),
    }
    return figures, same


def agreement(bundle: Bundle, params: dict[str, Any], ours: Peer | None = None) -> dict[str, bool]:
    """Whether a stream has the samples of the whole answer, and a whole answer its bytes alone and in company.

    With a server the stream goes through it, and so does the company; without, both are in the engine itself.
    """
    asked = [{**params, "seed": 100 + i} for i in range(COMPANY)]
    alone = [whole(bundle, one) for one in asked]
    streamed: list[bytes]
    if ours is None:
        together = in_company(bundle, asked)
        streamed = in_company(bundle, [{**one, "stream": True} for one in asked])
    else:
        server, model = ours.server, bundle.manifest.name
        assert server is not None
        with ThreadPoolExecutor(COMPANY) as pool:
            together = list(pool.map(lambda one: server.post(one, model).body, asked))
            streamed = list(pool.map(lambda one: server.post({**one, "stream": True}, model).body, asked))
    return {
        "stream_equals_whole": all(map(_same_samples, streamed, alone)),
        "batch_invariant": together == alone,
    }


def whole(bundle: Bundle, params: dict[str, Any]) -> bytes:
    """The answer of the served engine to one request that is alone."""
    return in_company(bundle, [params])[0]


def in_company(bundle: Bundle, asked: list[dict[str, Any]]) -> list[bytes]:
    """The answers of the served engine to requests that are computed together; pieces of streams joined."""
    generator: Any = _opened(bundle)
    slots = generator.start([generator.parse(Request(params)) for params in asked])
    answers = [b""] * len(slots)
    while live := [slot for slot in slots if slot.finished is None]:
        generator.step(live)
        answers = [answer + generator.drain(slot) for answer, slot in zip(answers, slots, strict=True)]
    return answers


_OPEN: dict[str, Any] = {}  # opening a WaveNet compiles it


def _opened(bundle: Bundle) -> Any:
    if bundle.digest not in _OPEN:
        _OPEN[bundle.digest] = open_model(bundle).generator
    return _OPEN[bundle.digest]


def _same_samples(streamed: bytes, answer: bytes) -> bool:
    """Whether two WAV files hold the same samples; that of a stream has no length."""
    found, wanted = (soundfile.read(io.BytesIO(data), dtype="int16")[0] for data in (streamed, answer))
    return len(wanted) > 0 and np.array_equal(found, wanted)
