"""A load generator that costs little enough to measure with: raw sockets, HTTP/1.1, a process of its own.

`python -m benchmarks.load` reads a `Load` as JSON from stdin and writes a `Result` as JSON; `send` starts that process.
Closed loop: each client sends its next request when the last one is answered. Open loop: requests are due at fixed
times, whatever the server does, and latency counts from the time a request was due, so a server that stalls cannot hide
it (coordinated omission); how late the generator itself was is part of the result.
Only 127.0.0.1 and unix sockets are loaded, and never for long.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import itertools
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from benchmarks.closed_loop import closed_loop
from benchmarks.open_loop import DRAIN_SECONDS, OpenLoop, due_times
from benchmarks.response import RESPONSE_SECONDS
from benchmarks.result import Result, from_json, summed, to_json

MAX_SECONDS, MAX_CONNECTIONS, MAX_RATE, MAX_REQUESTS = 900.0, 2048, 20_000.0, 4_000_000
START_SECONDS = 20.0  # for the process to start and to sum up, on a machine that is busy
SEED = "SEED"  # in a body: replaced by a number that differs from request to request
CHOICE = "CHOICE"  # in a body: replaced by the `choices` of a load in turn
_LOCAL = re.compile(r"unix:/[^\s]+|http://127\.0\.0\.1:\d{1,5}")


@dataclasses.dataclass(frozen=True)
class Load:
    """The requests to send: address, body, rate and duration."""

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
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)  # besides Host, type and length

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


def send(load: Load) -> Result:
    """Send `load` from a process of its own. Raises `RuntimeError` with what it said if that fails."""
    command = [sys.executable, "-m", "benchmarks.load"]
    text = json.dumps(dataclasses.asdict(load))
    root = Path(__file__).parent.parent
    bound = load.seconds + load.warm_seconds + RESPONSE_SECONDS + DRAIN_SECONDS + START_SECONDS
    try:
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=root, timeout=bound)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the load generator did not end within {bound:.0f} s; it was killed") from None
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed: {done.stderr.strip()[-500:]}")
    return from_json(done.stdout)


def _requests(load: Load) -> Iterator[bytes]:
    head = f"{load.method} {load.path} HTTP/1.1\r\nHost: localhost\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in load.headers.items())
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
    behind: list[tuple[float, float]] = []
    if load.rate is None:
        most = load.requests or MAX_REQUESTS
        samples = await closed_loop(load.address, requests, load.clients, until, most)
        if load.requests is None and len(samples) >= MAX_REQUESTS:
            raise ValueError(f"{MAX_REQUESTS} requests did not take {load.seconds:g} seconds: lower seconds")
    else:
        due = due_times(began, until, load.rate, load.spacing == "poisson", load.first_seed)
        loop = OpenLoop(load.address, load.clients)
        loop.run((at, next(requests)) for at in due)
        samples, behind = loop.samples, loop.behind
    return summed(samples, behind, counted_from, load.seconds)


def main() -> int:
    """Read a load from stdin, write its result to stdout."""
    gc.disable()  # a collection would stop every client at once; what piles up is bounded by MAX_REQUESTS
    try:
        result = asyncio.run(measure(Load(**json.load(sys.stdin))))
    except (TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(to_json(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
