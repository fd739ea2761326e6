"""A candidate in a process of its own, which computes while the others block (`export/speed.py` compares them).

In one process runtimes falsify each other: their threads spin on each other's cores.
"""

from __future__ import annotations

import functools
import multiprocessing
import signal
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.blocks import Block
from handlers.runtimes.session import Session, open_session

MIN_RUNS = 3
MAX_SECONDS = 0.5  # that a block may take over its length for so many runs

Inputs = Mapping[str, Any]  # what a contestant's run takes: arrays by name, or by role and name; of a role, a block
Run = Callable[[Any], Any]


class MeasureError(RuntimeError):
    """A child died or failed while it was timed."""


def roles_opener(
    runtime: str,
    roles: Mapping[str, tuple[bytes, GraphSpec]],
    calls: Mapping[str, int],
    threads: int,
    precision: Precision,
) -> Callable[[], Run]:
    """A picklable function that opens all graphs of a generator in the child and returns the run of a whole request.

    `calls` says how often one request computes a graph, where that is not once.
    """
    return functools.partial(_open_roles, runtime, dict(roles), dict(calls), threads, precision)


def _open_roles(
    runtime: str,
    roles: Mapping[str, tuple[bytes, GraphSpec]],
    calls: Mapping[str, int],
    threads: int,
    precision: Precision,
) -> Run:
    # Here and not beside the judge: a child that imported torch would start two seconds later.
    return each_role(
        {r: served(open_session(runtime, model, spec, threads, precision)) for r, (model, spec) in roles.items()}, calls
    )


def served(session: Session) -> Run:
    """One run of a graph as it is served: of a block where that is what it is given, else of rows."""

    def run(inputs: Any) -> Any:
        return session.block(inputs) if isinstance(inputs, Block) else session.run(inputs)

    return run


def each_role(runs: Mapping[str, Run], calls: Mapping[str, int]) -> Run:
    """One run of a whole request: every role as often as one request computes it."""

    def run(inputs: Inputs) -> dict[str, Any]:
        for role, once in runs.items():
            for _ in range(calls.get(role, 1) - 1):
                once(inputs[role])
        return {role: once(inputs[role]) for role, once in runs.items()}

    return run


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
        said = " ".join(str(error).split())  # a runtime's message may have many lines, a report gives one to each
        connection.send((False, f"{type(error).__name__}: {said}"))


def _block(run: Run, arrays: Inputs, seconds: float) -> list[float]:
    times: list[float] = []
    stop = time.perf_counter() + seconds
    bound = stop + MAX_SECONDS  # where a run takes a second, one is enough
    while not times or time.perf_counter() < (stop if len(times) >= MIN_RUNS else bound):
        begin = time.perf_counter()
        run(arrays)
        times.append(time.perf_counter() - begin)
    return times


def _peak_mb() -> float:
    """High-water mark of this process's memory (getrusage would begin with the parent's, from before the exec)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
