"""A load generator that costs little enough to measure with: raw asyncio sockets, HTTP/1.1, a process of its own.

`python -m benchmarks.load` reads a `Load` as JSON from stdin and writes a result as JSON; `run` starts that process. Closed loop: each
client sends its next request when the last one is answered. Open loop: requests are due at fixed times, whatever the server does, and
latency counts from the time a request was due, so a server that stalls cannot hide it (coordinated omission).
Only 127.0.0.1 and unix sockets are loaded, and never for long.
"""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.open_loop import OpenLoop

MAX_SECONDS, MAX_CONNECTIONS, MAX_RATE = 900.0, 2048, 20_000.0
ANSWER_SECONDS = 30.0
SEED = "SEED"  # in a body: replaced by a number that differs from request to request


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

    def __post_init__(self) -> None:
        local = self.address.startswith(("unix:/", "http://127.0.0.1:"))
        if not local:
            raise ValueError(
                f"address is {self.address!r}, wanted http://127.0.0.1:PORT or unix:/path: load stays at home"
            )
        for name, value, most in (
            ("seconds", self.seconds + self.warm_seconds, MAX_SECONDS),
            ("clients", self.clients, MAX_CONNECTIONS),
            ("rate", self.rate or 1.0, MAX_RATE),
        ):
            if not 0 < value <= most:
                raise ValueError(f"{name} is {value:g}, wanted more than 0 and at most {most:g}")


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of it; latencies in milliseconds, percentiles of answers with status 200."""

    seconds: float
    counts: dict[str, int]  # by status, and "error": no whole answer
    good_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float
    first_byte_p50_ms: float
    first_byte_p99_ms: float
    refused_p99_ms: float  # of answers with 503
    body_bytes: int
    behind_ms: float  # how late the generator itself was at worst (open loop): near 0, or it was too slow


def run(load: Load) -> Result:
    """Send `load` from a process of its own. Raises `RuntimeError` with what it said if that fails."""
    command = [sys.executable, "-m", "benchmarks.load"]
    text = json.dumps(dataclasses.asdict(load))
    root = Path(__file__).parent.parent
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=root)
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-500:]}")
    return Result(**json.loads(done.stdout))


@dataclasses.dataclass
class _Sample:
    due: float
    status: str
    took: float
    first: float
    size: int


class _Connection:
    """One keep-alive connection; reconnects when the server has closed it."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes, due: float) -> _Sample:
        """Send, and read the whole answer."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                if self._streams is None:
                    self._streams = await _open(self._load.address)
                reader, writer = self._streams
                writer.write(request)
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                first, size = await self._body(reader, head)
                if b"connection: close" in head:
                    self.close()
                now = time.perf_counter()
                return _Sample(due, head[9:12].decode(), now - due, first - due, size)
        except (OSError, EOFError, TimeoutError, ValueError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            self.close()
            return _Sample(due, "error", time.perf_counter() - due, 0.0, 0)

    async def _body(self, reader: asyncio.StreamReader, head: bytes) -> tuple[float, int]:
        """(when the first byte came, size of the body)."""
        if b"transfer-encoding: chunked" not in head:
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            return time.perf_counter(), len(body)
        first, size = 0.0, 0
        while (length := int(await reader.readuntil(b"\r\n"), 16)) > 0:
            await reader.readexactly(length + 2)
            first, size = first or time.perf_counter(), size + length
        await reader.readexactly(2)
        return first or time.perf_counter(), size

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def _open(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=1 << 20)
    host, _, port = address.removeprefix("http://").partition(":")
    return await asyncio.open_connection(host, int(port), limit=1 << 20)


def _requests(load: Load) -> Iterator[bytes]:
    head = f"POST {load.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "
    for number in itertools.count(load.first_seed):
        body = load.body.replace(SEED, str(number)).encode()
        yield f"{head}{len(body)}\r\n\r\n".encode() + body


async def measure(load: Load) -> Result:
    """Send `load` from this process."""
    result = await _measure(load)
    await asyncio.sleep(0.01)  # connections that were hung up on are closed by then
    return result


async def _measure(load: Load) -> Result:
    began = time.perf_counter()
    counted_from, until = began + load.warm_seconds, began + load.warm_seconds + load.seconds
    samples, late = await _closed(load, until) if load.rate is None else _open_loop(load, began, until)
    counted = [sample for sample in samples if sample.due >= counted_from]
    good = [sample for sample in counted if sample.status == "200"]
    p50, p90, p99, most = _percentiles([sample.took for sample in good], (50, 90, 99, 100))
    first_p50, first_p99 = _percentiles([sample.first for sample in good], (50, 99))
    (refused_p99,) = _percentiles([sample.took for sample in counted if sample.status == "503"], (99,))
    ends = [sample.due + sample.took for sample in samples if sample.status == "200"]
    in_time = [end for end in ends if counted_from <= end <= until]
    return Result(
        load.seconds,
        dict(collections.Counter(sample.status for sample in counted)),
        round(len(in_time) / load.seconds, 2),
        p50,
        p90,
        p99,
        most,
        first_p50,
        first_p99,
        refused_p99,
        sum(sample.size for sample in good),
        round(late * 1e3, 3),
    )


async def _closed(load: Load, until: float) -> tuple[list[_Sample], float]:
    requests, samples = _requests(load), []

    async def client() -> None:
        connection = _Connection(load)
        while (now := time.perf_counter()) < until:
            sample = await connection.ask(next(requests), now)
            samples.append(sample)
            if sample.status != "200":  # a refused client does not hammer
                await asyncio.sleep(0.005)
        connection.close()

    await asyncio.gather(*(client() for _ in range(load.clients)))
    return samples, 0.0


def _open_loop(load: Load, began: float, until: float) -> tuple[list[_Sample], float]:
    loop = OpenLoop(load.address, load.clients)
    loop.run(_schedule(load, began, until))
    return [_Sample(*outcome) for outcome in loop.outcomes], loop.late


def _schedule(load: Load, began: float, until: float) -> Iterator[tuple[float, bytes]]:
    """(when it is due, the request) of every request."""
    assert load.rate is not None
    numbers, requests, due = random.Random(load.first_seed), _requests(load), began
    while due < until:
        yield due, next(requests)
        due += numbers.expovariate(load.rate) if load.spacing == "poisson" else 1 / load.rate


def _percentiles(seconds: list[float], ranks: tuple[int, ...]) -> list[float]:
    if not seconds:
        return [float("nan")] * len(ranks)
    return [round(float(value) * 1e3, 3) for value in np.percentile(seconds, ranks)]


def main() -> int:
    """Read a load from stdin, write its result to stdout."""
    try:
        load = Load(**json.load(sys.stdin))
    except (TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result: dict[str, Any] = dataclasses.asdict(asyncio.run(measure(load)))
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
