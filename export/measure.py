"""Speed of candidates side by side: one child process each, driven in alternating blocks while the others block.

In one process runtimes falsify each other (their threads spin on each other's cores), and measured one after the
other they meet different noise. A candidate is timed in pairs of blocks with the reference, which stays open
throughout.
"""

from __future__ import annotations

import dataclasses
import functools
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from handlers.certificate import BatchSpeed
from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.session import open_session

MIN_RUNS = 3
PAUSE_SECONDS = 0.02  # lets the last runtime's threads stop spinning before the next block

Inputs = Mapping[str, Any]  # what a contestant's run takes: arrays by name, or by role and name
Run = Callable[[Inputs], Any]


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to look: blocks per candidate and batch size, and their length."""

    blocks: int = 5
    block_seconds: float = 0.25


QUICK = Effort(3, 0.1)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Speeds and costs of one candidate."""

    speeds: tuple[BatchSpeed, ...]
    load_ms: float
    peak_memory_mb: float

    def speedup(self, batch: int) -> float:
        """Times faster than the reference at a batch size that was measured."""
        return next(speed.speedup for speed in self.speeds if speed.batch == batch)


class MeasureError(RuntimeError):
    """A child died or failed while it was timed."""


def session_opener(
    runtime: str, model: bytes, spec: GraphSpec, threads: int, precision: Precision = "f32"
) -> Callable[[], Run]:
    """A picklable function that opens a session in the child and returns its `run`."""
    return functools.partial(_open, runtime, model, spec, threads, precision)


def _open(runtime: str, model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> Run:
    return open_session(runtime, model, spec, threads, precision).run


class Contestant:
    """A candidate in a process of its own. Use as a context manager; raises `MeasureError` when it cannot be opened."""

    def __init__(self, name: str, opener: Callable[[], Run]) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_child, args=(theirs, opener), daemon=True)
        self._process.start()
        theirs.close()

    def __enter__(self) -> Contestant:
        try:
            self._receive()  # it is open
        except MeasureError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(self, inputs: Inputs, seconds: float) -> list[float]:
        """Seconds of each run in a block at least that long."""
        times: list[float] = self._ask("run", dict(inputs), seconds)
        return times

    def outputs(self, inputs: Inputs) -> Any:
        """The arrays of one run, by name."""
        return self._ask("outputs", dict(inputs))

    def costs(self) -> tuple[float, float]:
        """(milliseconds to load, peak memory in MB over what the process had before it loaded)."""
        load_ms, peak_mb = self._ask("costs")
        return load_ms, peak_mb

    def close(self) -> None:
        """End the child; it is killed if it does not go by itself."""
        self._connection.close()
        self._process.join(timeout=5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _ask(self, *job: Any) -> Any:
        try:
            self._connection.send(job)
        except OSError:
            raise self._died() from None
        return self._receive()

    def _receive(self) -> Any:
        try:
            good, answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._died() from None
        if not good:
            raise MeasureError(f"{self.name} failed while it was measured: {answer}")
        return answer

    def _died(self) -> MeasureError:
        self._process.join(timeout=5)
        return MeasureError(f"{self.name} died while it was measured (exit code {self._process.exitcode})")


def compare_speed(
    candidate: Contestant, reference: Contestant, inputs: Mapping[int, Inputs], effort: Effort
) -> Measured:
    """Time `candidate` against `reference` for every batch size in `inputs` (batch size -> arrays)."""
    speeds = []
    for batch, arrays in inputs.items():
        for contestant in (reference, candidate):
            contestant.run(arrays, 0.0)  # warm-up at this shape
        times: list[float] = []
        ratios: list[float] = []
        for _ in range(effort.blocks):
            medians = []
            for contestant in (reference, candidate):
                time.sleep(PAUSE_SECONDS)
                block = contestant.run(arrays, effort.block_seconds)
                medians.append(float(np.median(block)))
            times += block  # the candidate's, which came second
            ratios.append(medians[0] / medians[1])
        p50, p95 = np.percentile(times, [50, 95]) * 1e3
        speed = BatchSpeed(
            batch=batch,
            p50_ms=round(p50, 4),
            p95_ms=round(p95, 4),
            items_per_s=round(batch / p50 * 1e3, 1),
            runs=len(times),
            speedup=round(float(np.median(ratios)), 3),
        )
        speeds.append(speed)
    return Measured(tuple(speeds), *candidate.costs())


def _child(connection: Connection, opener: Callable[[], Run]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it closes the pipe
    try:
        before, began = _peak_mb(), time.perf_counter()
        run = opener()
        load_ms = (time.perf_counter() - began) * 1e3
        connection.send((True, None))
        while True:
            command, *arguments = connection.recv()
            if command == "costs":
                connection.send((True, (round(load_ms, 1), round(_peak_mb() - before, 1))))
            elif command == "outputs":
                connection.send((True, run(arguments[0])))
            else:
                connection.send((True, _block(run, *arguments)))
    except (EOFError, BrokenPipeError):  # the parent has closed its end: done
        return
    except Exception as error:  # goes to the parent as text, which raises it with the candidate's name
        connection.send((False, f"{type(error).__name__}: {error}"))


def _block(run: Run, arrays: Inputs, seconds: float) -> list[float]:
    times: list[float] = []
    stop = time.perf_counter() + seconds
    while len(times) < MIN_RUNS or time.perf_counter() < stop:
        begin = time.perf_counter()
        run(arrays)
        times.append(time.perf_counter() - begin)
    return times


def _peak_mb() -> float:
    """High-water mark of this process's memory (getrusage would begin with the parent's, from before the exec)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
