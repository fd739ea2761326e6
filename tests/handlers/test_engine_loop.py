"""The engine's loop goes on whatever a request brings; only the same failure three times in a row ends it."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from handlers import metrics
from handlers.engine import loop
from handlers.engine.batch_scheduler import BatchScheduler
from handlers.engine.loop import Guard, Outbox, ProxyGoneError, serve
from handlers.engine.replies import BrokenEngineError, Replies
from handlers.engine.step_scheduler import StepScheduler
from handlers.frames import Beat, Cancel, End, Frame, Refused, Submit, Unpacker, pack
from handlers.generator import Media
from handlers.refusals import not_computed
from tests.support.counting import Count, Counter, FakeSlot

FAILED = Refused(500, not_computed().message, None)


def submission(number: int, params: Any) -> bytes:
    return pack(number, Submit(json.dumps(params).encode(), time.monotonic() + 60))


class Pictures(Counter):
    """Answers names at once, too, for the other lane."""

    alive: Callable[[], None]

    def generate(self, batch: Sequence[Count]) -> list[Media]:
        if any(params.name == "unstartable" for params in batch):
            raise RuntimeError("the picture broke")
        return [Media(params.name.encode(), -1 if params.name == "miscounted" else 1) for params in batch]


class Traps(StepScheduler):
    """A scheduler whose tick raises while certain requests wait or are computed."""

    def tick(self) -> None:
        super().tick()
        if any(job.params.name == "trap" for job in self._live):
            raise RuntimeError("the trap snapped")


class Proxy:
    """The other end of an engine's socket."""

    def __init__(self, make: Callable[[Replies], Any]) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        self.error: Exception | None = None
        outbox = Outbox(theirs)
        replies = Replies("fake", outbox.put, outbox.flush, lambda params: f"of {params.name}", 1000)
        self.scheduler = make(replies)
        self._unpacker, self.frames = Unpacker(), list[Frame]()
        self._thread = threading.Thread(target=self._serve, args=(theirs, outbox), daemon=True)
        self._thread.start()

    def _serve(self, theirs: socket.socket, outbox: Outbox) -> None:
        with theirs:
            try:
                serve(theirs, outbox, self.scheduler)
            except Exception as error:
                self.error = error

    def send(self, *frames: bytes) -> None:
        self.socket.sendall(b"".join(frames))

    def submit(self, number: int, name: str, **more: Any) -> None:
        self.send(submission(number, {"name": name, **more}))

    def end(self, number: int) -> End | Refused:
        """How a request ends; waits for it."""
        while True:
            for frame in self.frames:
                if frame.number == number and isinstance(frame.message, End | Refused):
                    return frame.message
            data = self.socket.recv(1 << 16)
            assert data, f"the engine ended before request {number}: {self.error}"
            self.frames += self._unpacker.feed(data)

    def endings(self, number: int) -> int:
        return sum(frame.number == number and isinstance(frame.message, End | Refused) for frame in self.frames)

    def close(self) -> None:
        self.socket.close()
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextlib.contextmanager
def proxy(make: Callable[[Replies], Any]) -> Iterator[Proxy]:
    found = Proxy(make)
    try:
        yield found
    finally:
        found.close()


LANES: dict[str, Callable[[Replies], Any]] = {
    "batch": lambda replies: BatchScheduler(Pictures(), replies, 4),
    "step": lambda replies: StepScheduler(Pictures(), replies),
}


@pytest.fixture(params=list(LANES))
def lane(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    with proxy(LANES[request.param]) as found:
        yield found
    assert found.error is None


def test_requests_are_answered_until_the_proxy_goes(lane: Proxy) -> None:
    lane.submit(1, "a")
    lane.submit(2, "b")
    assert (lane.end(1), lane.end(2)) == (End(), End())


def test_a_frame_that_cannot_be_read_costs_its_request_alone(lane: Proxy) -> None:
    clock = struct.pack("!d", time.monotonic() + 60)
    deep = b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    odd = [b"", b"7 bytes", clock, clock + b"{", clock + b"\xff\xfe", clock + b"1" * 5000, clock + deep]
    for number, payload in enumerate(odd, 1):
        lane.send(struct.pack("!BQI", 1, number, len(payload)) + payload)
    lane.send(struct.pack("!BQI", 99, 77, 3) + b"abc")
    lane.submit(8, "a")
    assert lane.end(8) == End()
    for number in (1, 2, 3, 4, 5, 6, 7, 77):
        message = "the body cannot be read; nest it less deeply"
        assert lane.end(number) == Refused(400, message, None)
        assert lane.endings(number) == 1


def test_params_of_any_shape_are_refused_and_nothing_else_happens(lane: Proxy) -> None:
    shapes: list[Any] = [None, 7, "x", [], {}, {"name": {}}, {"nom": 1}, {"name": "bad"}]
    for number, params in enumerate(shapes, 1):
        lane.send(submission(number, params))
    lane.submit(20, "a")
    assert lane.end(20) == End()
    for number in range(1, 9):
        assert isinstance(lane.end(number), Refused)
        assert lane.endings(number) == 1


def test_cancellations_of_nobody_are_answered_and_cost_nothing(lane: Proxy) -> None:
    lane.send(*[pack(number, Cancel()) for number in range(1, 2000)])
    lane.submit(2001, "a")
    assert lane.end(2001) == End()
    assert [lane.endings(number) for number in range(1, 2000)] == [1] * 1999


def test_what_cannot_be_counted_is_answered_all_the_same(lane: Proxy) -> None:
    lane.submit(1, "miscounted")
    assert lane.end(1) == End()


def test_metrics_that_cannot_be_written_cost_no_answer(lane: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> Any:
        raise OSError("no space left on device")

    for metric in (metrics.ITEMS, metrics.BATCH_SIZE):
        monkeypatch.setattr(metric, "labels", full)
    for number in range(1, 6):
        lane.submit(number, "a")
        assert lane.end(number) == End()


def test_a_tick_that_raises_fails_what_was_in_hand_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with proxy(lambda replies: Traps(Counter(), replies)) as there:
        for number in range(1, 9, 2):  # four times, but not in a row
            there.submit(number, "trap")
            assert there.end(number) == FAILED
            there.submit(number + 1, "a")
            assert there.end(number + 1) == End()
        assert [there.endings(number) for number in range(1, 9)] == [1] * 8
        assert there.scheduler._generator.free == 2
    assert there.error is None
    assert "a tick failed; the requests in hand fail, the engine goes on" in caplog.text
    assert "the trap snapped" in caplog.text


def test_three_failures_in_a_row_end_the_engine_with_a_reason() -> None:
    with proxy(lambda replies: Traps(Counter(), replies)) as there:
        for number in (1, 2, 3):
            there.submit(number, "trap")
            assert there.end(number) == FAILED
        assert there.socket.recv(1 << 16) in (b"", pack(0, Beat()))
    assert isinstance(there.error, BrokenEngineError)
    assert str(there.error) == "a tick failed 3 times in a row, at last: RuntimeError: the trap snapped"


def test_a_generator_that_lost_its_rows_ends_the_engine() -> None:
    """Slots that cannot be given back: nobody would ever start again, and nothing would say so."""

    class Greedy(Counter):
        def cancel(self, slot: FakeSlot) -> None:
            raise RuntimeError("it will not leave")

    with proxy(lambda replies: StepScheduler(Greedy(), replies)) as there:
        for number in (1, 2):
            there.submit(number, "mute")
            assert there.end(number) == FAILED
        there.scheduler._generator.free = 0
        for number in (3, 4, 5):
            there.submit(number, "a")
            assert there.end(number) == FAILED
    assert str(there.error).endswith("at last: RuntimeError: 0 of 2 rows are free with no text live")


@pytest.mark.parametrize("lane", LANES)
def test_requests_that_fail_one_after_another_do_not_end_an_engine_that_works(
    lane: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever found a request that cannot be computed may send it as often as he likes."""
    proofs: list[Sequence[int]] = []
    monkeypatch.setattr(Pictures, "preview", lambda self, seeds: proofs.append(seeds), raising=False)
    with proxy(LANES[lane]) as there:
        for number in range(1, 8):
            there.submit(number, "unstartable")
            assert there.end(number) == FAILED
        there.submit(8, "a")
        assert there.end(8) == End()
    assert there.error is None
    assert proofs == [[0], [0]]  # after three in a row, each time


@pytest.mark.parametrize("lane", LANES)
def test_a_generator_that_computes_nothing_any_more_ends_the_engine(lane: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: Pictures, seeds: Sequence[int]) -> None:
        raise RuntimeError("the device is lost")

    monkeypatch.setattr(Pictures, "preview", lost, raising=False)
    with proxy(LANES[lane]) as there:
        for number in (1, 2, 3):
            there.submit(number, "unstartable")
            assert there.end(number) == FAILED
        assert there.socket.recv(1 << 16) in (b"", pack(0, Beat()))
    assert isinstance(there.error, BrokenEngineError)
    wanted = "3 computations failed in a row, and a preview: RuntimeError: the device is lost"
    assert str(there.error) == wanted


def test_a_frame_that_cannot_be_obeyed_fails_its_request() -> None:
    class Deaf(StepScheduler):
        def cancel(self, number: int) -> None:
            if number == 3:
                raise KeyError(number)
            super().cancel(number)

        def spoiled(self, number: int) -> None:
            self._replies.fail(number)

    with proxy(lambda replies: Deaf(Counter(), replies)) as there:
        there.submit(2, "a", steps=10_000)
        there.send(pack(3, Cancel()), pack(2, Cancel()))
        there.submit(4, "a")
        assert there.end(4) == End()
    assert there.error is None


def test_the_guard_counts_failures_of_one_kind_in_a_row() -> None:
    guard, mended = Guard(), list[str]()

    def broken() -> None:
        raise ValueError("broken\nmore")

    for what in ("a", "b", "a", "b"):
        guard.run(what, broken, lambda: mended.append("x"))
    guard.run("a", lambda: None, lambda: mended.append("never"))
    guard.run("a", broken, lambda: mended.append("x"))
    with pytest.raises(BrokenEngineError, match=r"^b failed 3 times in a row, at last: ValueError: broken$"):
        guard.run("b", broken, lambda: mended.append("x"))
    assert mended == ["x"] * 6

    def gone() -> None:
        raise ProxyGoneError

    with pytest.raises(ProxyGoneError):
        guard.run("a", gone, lambda: mended.append("never"))
    assert mended == ["x"] * 6


def test_the_outbox_keeps_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "OUTBOX_BYTES", 100)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        outbox = Outbox(theirs)
        outbox.put(bytes(60))
        with pytest.raises(BlockingIOError):
            ours.recv(1000)
        outbox.put(bytes(60))
        assert len(ours.recv(1000)) == 120
        ours.close()
        outbox.put(b"x")
        with pytest.raises(ProxyGoneError):
            outbox.flush()


def test_the_proxy_may_go_in_the_middle_of_an_answer() -> None:
    with proxy(LANES["step"]) as there:
        there.submit(1, "a", steps=1_000_000)
        assert Unpacker().feed(there.socket.recv(10)) == []
    assert there.error is None
