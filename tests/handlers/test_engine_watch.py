"""When an engine counts as silent, and what of its start and its end may not hold up or end its proxy."""

from __future__ import annotations

import asyncio
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from handlers.frames import Beat, Data, Frame, Ready
from handlers.proxy import engine_process
from handlers.proxy.engine_process import SILENT_LOOKS, EngineProcess
from tests.support.proxy import in_loop, until


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Watched(EngineProcess):
    """An engine that has work, without a process; `killed` says why it was ended."""

    def __init__(self) -> None:
        super().__init__(Path(), 10.0, lambda frames: None, lambda why: None, lambda: None, lambda: True)
        self.killed: list[str] = []

    def kill(self, why: str) -> None:
        self.killed.append(why)


def opened() -> Watched:
    engine = Watched()
    engine._take([Frame(0, Ready({}))])
    return engine


def test_one_silent_look_kills_nothing(clock: Clock) -> None:
    """After a pause of the whole machine nothing was heard for long, and the engine speaks at once."""
    engine = opened()
    for _ in range(3):
        clock.now += 60
        engine._look()
        engine._take([Frame(0, Beat())])
        engine._look()
    assert engine.killed == []


def test_silent_looks_in_a_row_do(clock: Clock) -> None:
    engine = opened()
    clock.now += 11
    for _ in range(SILENT_LOOKS - 1):
        engine._look()
    assert engine.killed == []
    engine._look()
    assert engine.killed == ["the engine stood still for 11 s"]


def test_only_its_own_word_that_it_is_well_counts_once_it_is_open(clock: Clock) -> None:
    """A stream may go on beside a part that hangs, for which the engine withholds that word."""
    engine = opened()
    for _ in range(12):
        clock.now += 1
        engine._take([Frame(1, Data(b"x"))])
        engine._look()
    assert engine.killed == ["the engine stood still for 12 s"], "after two looks"


def test_whatever_it_says_counts_while_it_opens(clock: Clock) -> None:
    engine = Watched()
    clock.now += 60
    engine._take([Frame(0, Data(b""))])
    assert engine._heard == clock.now


def test_one_that_is_not_listened_to_is_not_silent(clock: Clock) -> None:
    """Its answers are not read while the front end does not read ours."""
    engine = opened()
    engine.listen(False)
    for _ in range(4):
        clock.now += 60
        engine._look()
    engine.listen(True)
    engine._look()
    assert engine.killed == []
    clock.now += 11
    for _ in range(SILENT_LOOKS):
        engine._look()
    assert engine.killed == ["the engine stood still for 11 s"]


@in_loop
async def test_one_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process or file descriptor may be left for a moment."""
    tries: list[int] = []
    lost: list[str] = []

    def none_left(*_: Any, **__: Any) -> Any:
        tries.append(1)
        raise OSError(24, "Too many open files")

    def give_up(why: str) -> None:
        lost.append(why)
        raise RuntimeError("a bug in giving up")

    monkeypatch.setattr(subprocess, "Popen", none_left)
    monkeypatch.setattr(engine_process, "BACKOFF_SECONDS", (0.0,))
    engine = EngineProcess(Path(), 1.0, lambda frames: None, give_up, lambda: None, lambda: False)
    task = asyncio.create_task(engine.run())
    await until(lambda: len(tries) >= 3, "it was not tried again")
    assert not task.done()
    assert engine.state == "restarting"
    assert engine.reason == "the engine cannot be started or listened to: [Errno 24] Too many open files"
    assert lost[0] == engine.reason
    task.cancel()


@in_loop
async def test_one_that_does_not_end_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that hangs in a driver cannot be killed: it is left to the kernel, and the event loop goes on."""

    class Immortal:
        def kill(self) -> None:
            pass

        def poll(self) -> None:
            return None

        def wait(self, timeout: float | None = None) -> int:
            assert timeout is not None, "it would wait for ever"
            raise subprocess.TimeoutExpired("engine", timeout)

    monkeypatch.setattr(engine_process, "REAP_SECONDS", 0.1)
    engine = EngineProcess(Path(), 1.0, lambda frames: None, lambda why: None, lambda: None, lambda: False)
    immortal: Any = Immortal()
    engine._process = immortal
    turns = 0

    async def turning() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(turning())
    assert await engine._buried() == "the engine died (exit code None)"
    assert turns > 10
    other.cancel()
    engine.stop()


@in_loop
async def test_a_look_that_fails_ends_no_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []

    def broken(self: EngineProcess) -> None:
        looks.append(1)
        raise RuntimeError("a bug")

    monkeypatch.setattr(EngineProcess, "_look", broken)
    monkeypatch.setattr(engine_process, "WATCH_SECONDS", 0.001)
    engine = EngineProcess(Path(), 1.0, lambda frames: None, lambda why: None, lambda: None, lambda: False)
    watch = asyncio.create_task(engine._watch())
    await until(lambda: len(looks) >= 3, "the watch ended")
    watch.cancel()
