"""The step lane: iteration-level against window batching, the first chunk of a stream, throughput of the bare engine's.

`charlm` at paper size (any weights: speed does not depend on them), texts of mixed lengths. Iteration-level batching
(Yu et al., Orca, OSDI 2022, section 3) is compared with window batching (a new batch begins only when the last text of
the old one is whole) in one process, at the same arrival of requests; the rest is measured through the server.
"""

from __future__ import annotations

import dataclasses
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import page
from benchmarks.bare_engine import BareEngine
from benchmarks.blocks import Bench
from benchmarks.export import ensure
from benchmarks.load import SEED, Load, send
from benchmarks.peers import launch
from benchmarks.peers.process import Peer
from benchmarks.result import Result
from export.archive import archive
from handlers.engine.choice import open_engine
from handlers.engine.replies import Replies
from handlers.engine.step_scheduler import StepScheduler
from handlers.frames import Data, End, Refused, Unpacker
from handlers.generator import Request

MODEL = "bench-charlm"
RECIPE = ["charlm", "--name", MODEL, "--preset", "paper", "--steps", "1"]
STREAMS = 32
SETTLE_SECONDS = 1.0  # of load before and after the stretch that is measured
LENGTHS = (16, 32, 64, 128, 256, 512)  # max_tokens of the texts: mixed, each as often as the others
BODY = f'{{"seed": {SEED}, "stream": true, "temperature": 0.7, "max_tokens": '


class WindowScheduler(StepScheduler):
    """Window batching: a request joins only when no slot is taken."""

    def _admits(self) -> bool:
        return not self._live


@dataclasses.dataclass
class Served:
    """Throughput of one scheduler at one arrival of requests, and p99 of the latency of whole texts in seconds."""

    tokens_per_s: float
    p99_s: float


def drive(generator: Any, window: bool, rate: float, seconds: float, seed: int) -> Served:
    """Requests arrive at `rate` a second (Poisson), each of one of `LENGTHS`; latency counts from when one was due.

    They are submitted between two ticks, as the engine process reads its socket: that wait is the scheduler's own.
    """
    unpacker, ended, due = Unpacker(), dict[int, float](), list[float]()
    tokens = 0

    def emit(frame: bytes) -> None:
        nonlocal tokens
        for number, message in unpacker.feed(frame):
            if isinstance(message, Data):  # no stream: the whole document
                tokens += json.loads(message.body)["usage"]["completion_tokens"]
            elif isinstance(message, End):
                ended[number] = time.perf_counter()
            elif isinstance(message, Refused):
                raise RuntimeError(f"a request was refused: {message.message}")

    replies = Replies("bench", emit, lambda: None, lambda _: "", 1 << 20)
    scheduler = (WindowScheduler if window else StepScheduler)(generator, replies)
    numbers = random.Random(seed)
    began = time.perf_counter()
    at = began
    while at < began + seconds:
        due.append(at)
        at += numbers.expovariate(rate)
    lengths = [numbers.choice(LENGTHS) for _ in due]
    sent = 0
    while len(ended) < len(due):
        now = time.perf_counter()
        while sent < len(due) and due[sent] <= now:
            # The likeliest byte of any weights is hardly ever the one that ends a text: lengths are what was asked for.
            params = {"seed": seed + sent, "max_tokens": lengths[sent], "temperature": 0}
            scheduler.submit(sent, params, None)
            sent += 1
        if scheduler.busy:
            scheduler.tick()
        elif sent < len(due):
            time.sleep(max(0.0, due[sent] - time.perf_counter()))
    took = [ended[number] - due[number] for number in ended]
    return Served(tokens / (max(ended.values()) - began), float(np.percentile(took, 99)))


def at_equal_p99(generator: Any, capacity: float, quick: bool) -> tuple[float, float, list[tuple[float, float, float]]]:
    """Load that iteration-level batching carries over that of windows, at the same bound of p99.

    The bound is two and a half times the time of the longest text alone in the engine. Returns the ratio of the two
    loads, the bound in milliseconds, and (offered share of the capacity, p99 iteration-level, p99 in windows) for the
    curve.
    """
    mean = sum(LENGTHS) / len(LENGTHS)
    bound = 2.5e3 * statistics.median(alone(generator) for _ in range(5))
    curve = []
    for share in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9):
        rate, seed = share * capacity / mean, int(share * 1000)
        found = {
            window: drive(generator, window, rate, 4.0 if quick else 15.0, seed).p99_s * 1e3 for window in (False, True)
        }
        curve.append((share, round(found[False], 1), round(found[True], 1)))
        print(
            f"at {share:.0%} of the engine: p99 {found[False]:.0f} ms iteration-level, {found[True]:.0f} ms in windows",
            flush=True,
        )
    carried = [carries([(share, p99s[i]) for share, *p99s in curve], bound) for i in range(2)]
    return carried[0] / carried[1], bound, curve


def alone(generator: Any) -> float:
    """Seconds of the longest text with the engine to itself."""
    began = time.perf_counter()
    (slot,) = generator.start([generator.parse(Request({"seed": 1, "max_tokens": max(LENGTHS), "temperature": 0}))])
    while slot.finished is None:
        generator.step([slot])
    return time.perf_counter() - began


def carries(points: Sequence[tuple[float, float]], bound: float) -> float:
    """The load at which a curve of (load, p99) first crosses `bound`, between two points by a straight line."""
    before = (0.0, 0.0)
    for point in points:
        if point[1] > bound:
            return before[0] + (point[0] - before[0]) * (bound - before[1]) / (point[1] - before[1])
        before = point
    return before[0]


def run(quick: bool) -> dict[str, Any]:
    """All figures; builds the model if it is absent."""
    bundle = ensure(MODEL, RECIPE, quick)
    bench = Bench(quick)
    fractions, first, engines = [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        launch.ours(archive(MODEL, Path(folder))) as ours,
        BareEngine(bundle.directory) as bare,
    ):
        for number in range(bench.pairs):
            load = Load(
                ours.address,
                ours.path,
                f"{BODY}256}}",
                bench.seconds + 2 * SETTLE_SECONDS,
                SETTLE_SECONDS,
                STREAMS,
                first_seed=1 + number * 1_000_000,
            )
            engines.append(bare.block(STREAMS, bench.seconds)[0])
            result, tokens_per_s = under_load(ours, load, bench.seconds)
            fractions.append(tokens_per_s / engines[-1])
            first.append(result.first_byte_p99_ms)
    generator, capacity = open_engine(bundle).generator, statistics.median(engines)
    ratio, bound, curve = at_equal_p99(generator, capacity, quick)
    figures = {
        "iteration_over_window": round(ratio, 2),
        "first_chunk_ms": bench.note("first_chunk_ms", first, 1),
        "tokens_fraction_of_engine": bench.note("tokens_fraction_of_engine", fractions, 3),
        "engine_tokens_per_s": round(capacity),
        "equal_p99_ms": round(bound),
        "spreads": bench.spreads,
    }
    lines = {
        "iteration-level": [(100 * share, p99) for share, p99, _ in curve],
        "windows": [(100 * share, p99) for share, _, p99 in curve],
    }
    text = f"Texts of {', '.join(map(str, LENGTHS))} bytes, each as often, arriving at random; {STREAMS} slots."
    picture = page.curves(lines, "offered load, percent of the engine", "p99 of a whole text, milliseconds", log=True)
    print(f"report: {page.write('steps', figures, [page.Section('Latency against load', text, picture)])}")
    return figures


def under_load(ours: Peer, load: Load, seconds: float) -> tuple[Result, float]:
    """The result of a load, and the tokens a second that the server wrote in the middle of it."""
    assert ours.server is not None
    with ThreadPoolExecutor(1) as pool:
        before = tokens_made(ours.server.metrics())
        loading = pool.submit(send, load)
        while tokens_made(ours.server.metrics()) == before and not loading.done():  # the generator is starting
            time.sleep(0.05)
        time.sleep(SETTLE_SECONDS)
        began, from_here = time.perf_counter(), tokens_made(ours.server.metrics())
        time.sleep(seconds)
        per_s = (tokens_made(ours.server.metrics()) - from_here) / (time.perf_counter() - began)
        return loading.result(), per_s  # the load goes on for a while


def tokens_made(metrics: dict[str, float]) -> float:
    """Tokens that a server has written so far."""
    return sum(value for name, value in metrics.items() if name.startswith("atelier_items_total"))
