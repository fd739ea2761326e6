"""How fast candidates are, side by side: one child process each, driven in alternating blocks while the others block.

In one process runtimes falsify each other (their threads spin on each other's cores), and measured one after
the other they meet different noise.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.bundle import GraphSpec
from handlers.sessions import open_session

BLOCKS = 5
BLOCK_SECONDS = 0.25
MIN_RUNS = 3


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A candidate to be timed: a runtime and a file."""

    runtime: str
    model: bytes
    spec: GraphSpec
    threads: int


@dataclasses.dataclass(frozen=True)
class Speed:
    """Times of one candidate at one batch size."""

    batch: int
    p50_ms: float
    p95_ms: float
    items_per_s: float
    runs: int


class MeasureError(RuntimeError):
    """A child died or failed while it was timed."""


def measure(
    contestants: Mapping[str, Contestant], inputs: Mapping[int, Mapping[str, NDArray[Any]]]
) -> dict[str, list[Speed]]:
    """Speeds per contestant for every batch size in `inputs` (batch size -> arrays). Raises `MeasureError`."""
    context = multiprocessing.get_context("spawn")
    children = {}
    for name, contestant in contestants.items():
        ours, theirs = context.Pipe()
        process = context.Process(target=_child, args=(theirs, contestant), daemon=True)
        process.start()
        theirs.close()
        children[name] = (process, ours)
    try:
        for name in children:
            _ask(name, children, None)  # wait until it is open
        return _blocks(children, inputs)
    finally:
        for process, connection in children.values():
            connection.close()
            process.join(timeout=5)
            if process.is_alive():
                process.kill()
                process.join()


def _blocks(children: Mapping[str, Any], inputs: Mapping[int, Mapping[str, NDArray[Any]]]) -> dict[str, list[Speed]]:
    result: dict[str, list[Speed]] = {name: [] for name in children}
    for batch, arrays in inputs.items():
        for name in children:
            _ask(name, children, (dict(arrays), 0.0))  # warm-up at this shape
        times: dict[str, list[float]] = {name: [] for name in children}
        for _ in range(BLOCKS):
            for name in children:
                times[name] += _ask(name, children, (dict(arrays), BLOCK_SECONDS))
        for name, seconds in times.items():
            p50, p95 = np.percentile(seconds, [50, 95]) * 1e3
            speed = Speed(batch, round(p50, 4), round(p95, 4), round(batch / (p50 / 1e3), 1), len(seconds))
            result[name].append(speed)
    return result


def _ask(name: str, children: Mapping[str, Any], job: Any) -> list[float]:
    process, connection = children[name]
    try:
        if job is not None:
            connection.send(job)
        answer = connection.recv()
    except (EOFError, OSError):
        process.join(timeout=5)
        raise MeasureError(f"{name} died while it was timed (exit code {process.exitcode})") from None
    if isinstance(answer, str):
        raise MeasureError(f"{name} failed while it was timed: {answer}")
    times: list[float] = answer
    return times


def _child(connection: Connection, contestant: Contestant) -> None:
    try:
        session = open_session(contestant.runtime, contestant.model, contestant.spec, contestant.threads)
        connection.send([])
        while True:
            arrays, seconds = connection.recv()
            times: list[float] = []
            stop = time.perf_counter() + seconds
            while len(times) < MIN_RUNS or time.perf_counter() < stop:
                begin = time.perf_counter()
                session.run(arrays)
                times.append(time.perf_counter() - begin)
            connection.send(times)
    except EOFError:  # the parent has closed its end: done
        return
    except Exception as error:  # goes to the parent as text, which raises it with the candidate's name
        connection.send(f"{type(error).__name__}: {error}")
