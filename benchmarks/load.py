"""A load generator that costs little enough to measure with: raw sockets, HTTP/1.1, a process of its own.

`python -m benchmarks.load` reads a `Load` as JSON from stdin and writes a result as JSON; `run` starts that process. Closed loop: each
client sends its next request when the last one is answered. Open loop: requests are due at fixed times, whatever the server does, and
latency counts from the time a request was due, so a server that stalls cannot hide it (coordinated omission).
Only 127.0.0.1 and unix sockets are loaded, and never for long.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import gc
import itertools
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.answer import ANSWER_SECONDS, Sample
from benchmarks.closed_loop import closed_loop
from benchmarks.open_loop import DRAIN_SECONDS, OpenLoop, due_times
from benchmarks.summary import Latency, latency, percentiles_ms, series

MAX_SECONDS, MAX_CONNECTIONS, MAX_RATE, MAX_REQUESTS = 900.0, 2048, 20_000.0, 4_000_000
START_SECONDS = 20.0  # for the process to start and to sum up, on a machine that is busy
SEED = "SEED"  # in a body: replaced by a number that differs from request to request
CHOICE = "CHOICE"  # in a body: replaced by the `choices` of a load in turn
_LOCAL = re.compile(r"unix:/[^\s]+|http://127\.0\.0\.1:\d{1,5}")


@dataclasses.dataclass(frozen=True)
class Load:
    """What to send, where, how fast, for how long."""

    address: str  # http://127.0.0.1:PORT or unix:/path
    path: str
    body: str  # JSON; SEED in it becomes a number of its own for every request
    seconds: float
    warm_seconds: float = 1.0  # sent before that, and not counted
    clients: int = 1  # connections; in an open loop the most that are used
    rate: float | None = None  # requests a second; None: closed loop
    spacing: Literal["even", "poisson"] = "poisson"
    first_seed: int = 1
    requests: int | None = None  # a closed loop ends after that many, warm-up included
    method: Literal["POST", "GET"] = "POST"
    choices: Sequence[str] = ("",)

    def __post_init__(self) -> None:
        if not _LOCAL.fullmatch(self.address):
            raise ValueError(
                f"address is {self.address!r}, wanted http://127.0.0.1:PORT or unix:/path: load stays at home"
            )
        if not re.fullmatch(r"/[!-~]*", self.path):
            raise ValueError(f"path is {self.path!r}, wanted one that begins with / and holds no space")
        if self.spacing not in ("even", "poisson"):
            raise ValueError(f"spacing is {self.spacing!r}, wanted even or poisson")
        if self.warm_seconds < 0:
            raise ValueError(f"warm_seconds is {self.warm_seconds:g}, wanted 0 or more")
        total = self.seconds + self.warm_seconds
        for name, value, most in (
            ("seconds", total, MAX_SECONDS),
            ("seconds", self.seconds, MAX_SECONDS),
            ("clients", self.clients, MAX_CONNECTIONS),
            ("rate", 1.0 if self.rate is None else self.rate, MAX_RATE),
            ("requests", 1.0 if self.requests is None else self.requests, MAX_REQUESTS),
            ("rate times seconds", (self.rate or 1.0) * total, MAX_REQUESTS),
        ):
            if not 0 < value <= most:
                raise ValueError(f"{name} is {value:g}, wanted more than 0 and at most {most:g}")


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of it; latencies in milliseconds, and where nothing else is said those of answers with status 200. NaN: there were none."""

    seconds: float
    counts: dict[str, int]  # by status; "error": no whole answer; "unsent": no connection came free in time
    good_per_s: float  # answers with status 200 that were whole within `seconds`
    answers_per_s: float  # answers with any status
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    first_byte_p50_ms: float  # of the body
    first_byte_p99_ms: float
    refused_p99_ms: float  # of answers with 503
    overall: Latency  # every request: what was refused, failed or never sent, too
    by_status: dict[str, Latency]  # as `counts`
    body_bytes: int
    chunks: float  # of a streamed answer, on average; NaN: none was streamed
    behind_ms: float  # how late the generator itself was at worst (open loop): near 0, or it was too slow
    series: list[tuple[float, float, float]]  # (second, median ms, worst ms) over time, all requests


def run(load: Load) -> Result:
    """Send `load` from a process of its own. Raises `RuntimeError` with what it said if that fails."""
    command = [sys.executable, "-m", "benchmarks.load"]
    text = json.dumps(dataclasses.asdict(load))
    root = Path(__file__).parent.parent
    bound = load.seconds + load.warm_seconds + ANSWER_SECONDS + DRAIN_SECONDS + START_SECONDS
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=root, timeout=bound)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the load generator did not end within {bound:.0f} s; it was killed") from None
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-500:]}")
    return _result(done.stdout)


def _result(text: str) -> Result:
    fields: dict[str, Any] = _nan_for_null(json.loads(text))
    fields["overall"] = Latency(**fields["overall"])
    fields["by_status"] = {status: Latency(**of) for status, of in fields["by_status"].items()}
    fields["series"] = [tuple(point) for point in fields["series"]]
    return Result(**fields)


def _nan_for_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nan_for_null(item) for key, item in value.items()}
    return math.nan if value is None else value


def null_for_nan(value: Any) -> Any:
    """NaN is no JSON: null takes its place, at any depth."""
    if isinstance(value, dict):
        return {key: null_for_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [null_for_nan(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _requests(load: Load) -> Iterator[bytes]:
    head = f"{load.method} {load.path} HTTP/1.1\r\nHost: localhost\r\n"
    if load.method == "GET":
        while True:
            yield f"{head}\r\n".encode()
    head += "Content-Type: application/json\r\nContent-Length: "
    for number in itertools.count(load.first_seed):
        choice = load.choices[number % len(load.choices)]
        body = load.body.replace(SEED, str(number)).replace(CHOICE, choice).encode()
        yield f"{head}{len(body)}\r\n\r\n".encode() + body


async def measure(load: Load) -> Result:
    """Send `load` from this process."""
    requests = _requests(load)
    began = time.perf_counter()
    counted_from, until = began + load.warm_seconds, began + load.warm_seconds + load.seconds
    late = 0.0
    if load.rate is None:
        most = load.requests or MAX_REQUESTS
        samples = await closed_loop(load.address, requests, load.clients, until, most)
        if load.requests is None and len(samples) >= MAX_REQUESTS:
            raise ValueError(f"{MAX_REQUESTS} requests did not take {load.seconds:g} seconds: lower seconds")
    else:
        due = due_times(began, until, load.rate, load.spacing == "poisson", load.first_seed)
        loop = OpenLoop(load.address, load.clients)
        loop.run((at, next(requests)) for at in due)
        samples, late = loop.samples, loop.late
    return _summed(load, samples, counted_from, until, late)


def _summed(load: Load, samples: list[Sample], counted_from: float, until: float, late: float) -> Result:
    counted = [sample for sample in samples if sample.due >= counted_from]
    good = [sample for sample in counted if sample.outcome == "200"]
    chunks = [sample.chunks for sample in good if sample.chunks]
    took: dict[str, list[float]] = collections.defaultdict(list)
    for sample in counted:
        took[sample.outcome].append(sample.took)
    by_status = {outcome: latency(times) for outcome, times in sorted(took.items())}
    # By when it ended, not by when it was due: otherwise a block would lose what its warm-up had begun.
    ends = [(sample.due + sample.took, sample.outcome) for sample in samples if sample.outcome.isdigit()]
    inside = [outcome for end, outcome in ends if counted_from <= end <= until]
    of_good = latency(took.get("200", []))
    first_p50, first_p99 = percentiles_ms([sample.first for sample in good], (50, 99))
    return Result(
        seconds=load.seconds,
        counts={outcome: of.count for outcome, of in by_status.items()},
        good_per_s=round(inside.count("200") / load.seconds, 2),
        answers_per_s=round(len(inside) / load.seconds, 2),
        p50_ms=of_good.p50_ms,
        p90_ms=of_good.p90_ms,
        p95_ms=of_good.p95_ms,
        p99_ms=of_good.p99_ms,
        max_ms=of_good.max_ms,
        first_byte_p50_ms=first_p50,
        first_byte_p99_ms=first_p99,
        refused_p99_ms=percentiles_ms(took.get("503", []), (99,))[0],
        overall=latency([sample.took for sample in counted]),
        by_status=by_status,
        body_bytes=sum(sample.size for sample in good),
        chunks=round(sum(chunks) / len(chunks), 2) if chunks else math.nan,
        behind_ms=round(late * 1e3, 3),
        series=series([(sample.due - counted_from, sample.took) for sample in counted], load.seconds),
    )


def main() -> int:
    """Read a load from stdin, write its result to stdout."""
    gc.disable()  # a collection would stop every client at once; what piles up is bounded by MAX_REQUESTS
    try:
        result = asyncio.run(measure(Load(**json.load(sys.stdin))))
    except (TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(json.dumps(null_for_nan(dataclasses.asdict(result)), allow_nan=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
