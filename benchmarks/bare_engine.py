"""The bare engine: generator and encoder in a child process without a server, as the upper bound of throughput."""

from __future__ import annotations

import functools
import multiprocessing
import os
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import psutil


class BareEngineError(RuntimeError):
    """The child died."""


class BareEngine:
    """The child process, asked for blocks of work.

    A context manager; entering waits until the engine is open. Raises `BareEngineError` when the child dies.
    """

    def __init__(self, bundle: Path, asks: Sequence[Mapping[str, Any]] = ({"max_tokens": 256},)) -> None:
        """`asks` are the parameters of requests to a StepGenerator, sent in turn, each with a seed of its own."""
        context = multiprocessing.get_context("spawn")
        self._pipe, self._theirs = context.Pipe()
        arguments = (self._theirs, str(bundle.resolve()), list(asks))
        self._process = context.Process(target=_serve, args=arguments, daemon=True)

    def __enter__(self) -> BareEngine:
        self._process.start()
        self._theirs.close()  # with it open here, a dead child would be waited for for ever
        try:
            self._receive()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def block(self, batch: int, seconds: float) -> tuple[float, float]:
        """(items a second, median milliseconds of a batch) over at least that long."""
        self._pipe.send((batch, seconds))
        items_per_s, p50_ms = self._receive()
        return items_per_s, p50_ms

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(5)
            code = self._process.exitcode
            raise BareEngineError(f"the bare engine died (exit code {code}); what it said stands above") from None

    def _end(self) -> None:
        self._pipe.close()
        self._process.kill()
        self._process.join()

    @property
    def memory_mb(self) -> float:
        """Resident memory of the process."""
        return float(psutil.Process(self._process.pid).memory_info().rss) / 2**20


def _serve(pipe: Connection, folder: str, asks: Sequence[Mapping[str, Any]]) -> None:
    from handlers.bundle import read
    from handlers.engine.choice import open_engine

    generator = open_engine(read(Path(folder))).generator
    is_batch = hasattr(generator, "generate")
    blocks = _batch_block if is_batch else functools.partial(_step_block, asks, _Tokens(generator))
    pipe.send(os.getpid())
    while True:
        try:
            batch, seconds = pipe.recv()
        except EOFError:
            return
        pipe.send(blocks(generator, batch, seconds))


def _batch_block(generator: Any, batch: int, seconds: float) -> tuple[float, float]:
    from handlers.generator import Request

    times: list[float] = []
    number, began = 0, time.perf_counter()
    while (now := time.perf_counter()) - began < seconds or not times:
        params = [generator.parse(Request({"seed": number + i})) for i in range(batch)]
        generator.generate(params)
        number += batch
        times.append(time.perf_counter() - now)
    return number / (time.perf_counter() - began), float(np.median(times)) * 1e3


def _step_block(
    asks: Sequence[Mapping[str, Any]], tokens: _Tokens, generator: Any, batch: int, seconds: float
) -> tuple[float, float]:
    """(tokens a second, median milliseconds of a tick) of the serving scheduler, with `batch` requests at all times."""
    from handlers.engine.replies import Replies
    from handlers.engine.step_scheduler import StepScheduler
    from handlers.frames import End, Unpacker

    unpacker, before = Unpacker(), tokens.count
    open_, seed, times = 0, 0, list[float]()

    def emit(frame: bytes) -> None:
        nonlocal open_
        open_ -= sum(isinstance(found.message, End) for found in unpacker.feed(frame))

    replies = Replies("bare", emit, lambda: None, lambda params: "", 1 << 30)
    scheduler = StepScheduler(generator, replies)
    began = time.perf_counter()
    while (now := time.perf_counter()) - began < seconds or not times:
        while open_ < batch:
            seed, open_ = seed + 1, open_ + 1
            scheduler.submit(seed, {**asks[seed % len(asks)], "seed": seed}, None)
        scheduler.tick()
        times.append(time.perf_counter() - now)
    tokens_per_s = (tokens.count - before) / (time.perf_counter() - began)
    for number in range(1, seed + 1):
        scheduler.cancel(number)
    return tokens_per_s, float(np.median(times)) * 1e3


class _Tokens:
    """Counts the tokens of a StepGenerator in place of its `step`, so that the scheduler meets the generator itself."""

    def __init__(self, generator: Any) -> None:
        self._step, self.count = generator.step, 0
        generator.step = self.step

    def step(self, slots: Sequence[Any]) -> None:
        """As the generator's."""
        before = sum(slot.items for slot in slots)
        self._step(slots)
        self.count += sum(slot.items for slot in slots) - before
