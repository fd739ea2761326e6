"""What a look concludes: a worker that is gone is a loss at once, silence only after several looks and a time."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from serving import watch
from serving.asking import ask_all
from serving.client import Response
from serving.torchserve import Worker
from serving.watch import LOST_SECONDS, SILENT_SECONDS, Look, Watch, drain, probe

HERE = os.getpid()
WELL = {"engine": "ready", "reason": "the engine is open", "restarts": 0, "in_flight": 0, "queued": 0}
BUSY = Response(503, {"retry-after": "3"}, b'{"code": 503, "message": "96 requests are waiting"}')
STOCK = Response(503, {}, b'{"code": 503, "type": "ServiceUnavailableException", "message": "no worker"}')


def model(name: str) -> Any:
    return SimpleNamespace(manifest=SimpleNamespace(name=name, example={"seed": 1}))


class Played:
    """A TorchServe with the models a and b, and a clock: what it answers is up to the test."""

    pid: int | None = HERE
    front = "unix:/nowhere"

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.told: Any = {name: [Worker(HERE, "READY")] for name in "ab"}
        self.health: dict[str, Any] = {"a": WELL, "b": WELL}
        self.answers: dict[str, Any] = {}
        self.models = [model(name) for name in "ab"]
        self.watch = Watch(self, self.models, {HERE}, lambda: self.now)  # type: ignore[arg-type]
        monkeypatch.setattr(watch, "control", self.control)
        monkeypatch.setattr(watch, "request", self.request)

    def workers(self) -> Any:
        return _given(self.told)

    def control(self, _: object, name: str, command: str) -> Any:
        return _given(self.health[name])

    def request(self, address: str, method: str, path: str, *_: object) -> Any:
        return _given(self.answers[path.rpartition("/")[2]])

    def look(self, after: float = 0.5) -> Look:
        self.now += after
        return self.watch.look()


def _given(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    return Played(monkeypatch)


def test_a_first_look_that_times_out_is_no_dead_worker(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    well = played.told
    for workers in (None, {HERE}):
        played.watch = Watch(played, played.models, workers, lambda: played.now)  # type: ignore[arg-type]
        played.told = TimeoutError("timed out")
        assert played.look().problem == "the front end does not tell of its workers (timed out)"
        played.told = well
        assert played.look() == Look()
        assert played.look() == Look()


def test_a_worker_that_ended_or_was_replaced_is_a_loss_at_once(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    played.told = {**played.told, "b": [Worker(HERE + 1, "READY")]}
    assert played.look() == Look(lost="a worker died")
    played.told = TimeoutError("the front end is silent, too")
    monkeypatch.setattr(watch, "alive", lambda pid: False)
    assert played.look() == Look(lost="a worker died")


@pytest.mark.parametrize("silent", ["front end", "proxy", "front end in place of the proxy"])
def test_silence_is_a_loss_after_its_time(played: Played, silent: str) -> None:
    if silent == "front end":
        played.told = TimeoutError("timed out")
    else:
        in_place = json.loads(STOCK.body)
        played.health["b"] = TimeoutError("timed out") if silent == "proxy" else in_place
    played.look(0.0)
    for _ in range(int(SILENT_SECONDS / 5)):
        assert played.look(5.0).lost is None
    assert (played.look(5.0).lost or "").endswith(f"for {SILENT_SECONDS + 5:.0f} s")


def test_one_long_look_is_no_evidence(played: Played) -> None:
    assert played.look() == Look()
    played.told = {"a": [Worker(HERE, "UNLOADING")], "b": [Worker(HERE, "READY")]}
    assert played.look(LOST_SECONDS + 1) == Look("a worker is not ready")
    assert played.look().lost is not None


@pytest.mark.parametrize("stopped", [20.0, 3600.0])
def test_a_launcher_that_was_stopped_does_not_count_its_own_pause(played: Played, stopped: float) -> None:
    assert played.look() == Look()
    played.told = TimeoutError("timed out")
    for _ in range(5):  # in the middle of a question, again and again
        assert played.look(stopped).lost is None
    played.told = {name: [Worker(HERE, "READY")] for name in "ab"}
    assert played.look() == Look()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_own_trouble_is_no_evidence_against_the_server(played: Played, number: int) -> None:
    assert played.look() == Look()
    well = played.told
    for told, health in ((OSError(number, "own"), WELL), (well, OSError(number, "own")), (MemoryError(), WELL)):
        played.told, played.health["b"] = told, health
        assert played.look() == Look(unknown=True)  # what was ready stays so
        for _ in range(20):
            look = played.look(5.0)
            assert look.lost is None
        assert look.problem is not None
        assert look.problem.startswith("the launcher cannot look at its server (")
        played.told, played.health["b"] = well, WELL
        assert played.look() == Look()


def test_a_mistake_of_ours_is_not_taken_for_an_answer(played: Played) -> None:
    played.health["a"] = KeyError("a mistake")
    with pytest.raises(KeyError, match="a mistake"):
        played.look()


def test_an_engine_is_replaced_by_its_proxy(played: Played) -> None:
    played.health["a"] = {"engine": "restarting", "reason": "the engine died", "restarts": 1}
    for _ in range(60):
        assert played.look(1.0) == Look("engine of a: restarting, the engine died")
    played.health["a"] = {**WELL, "restarts": 2}
    assert played.look() == Look("engine of a was replaced")
    assert played.look() == Look()


def test_a_drained_model_is_not_ready_and_does_not_stay_so(played: Played) -> None:
    played.health["b"] = {**WELL, "draining": True}
    assert played.look() == Look("b takes no more requests: it was drained, but not by this launcher")
    played.health["b"] = {**WELL, "draining": False}
    assert played.look() == Look()
    played.health["b"] = {**WELL, "draining": True}
    looks = [played.look(1.0) for _ in range(int(SILENT_SECONDS) + 2)]
    assert looks[-1].lost is not None


def test_what_mends_itself_does_not_hide_what_does_not(played: Played) -> None:
    played.health["a"] = {"engine": "restarting", "reason": "the engine died", "restarts": 1}
    played.health["b"] = TimeoutError("timed out")
    assert (played.look().problem or "").startswith("b does not tell how it is")


def test_models_are_asked_side_by_side(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answers only when the others were asked, too: one after the other nobody would."""
    barrier = threading.Barrier(3, timeout=30)
    monkeypatch.setattr(played, "workers", lambda: (barrier.wait(), played.told)[1])
    monkeypatch.setattr(watch, "control", lambda *_: (barrier.wait(), WELL)[1])
    assert played.look() == Look()
    barrier = threading.Barrier(2, timeout=30)
    monkeypatch.setattr(watch, "request", lambda *_: (barrier.wait(), Response(200, {}, b""))[1])
    assert probe(played, played.models) == (None, {"a": "ready", "b": "ready"})  # type: ignore[arg-type]
    assert drain(played, played.models, 1) == 0.0  # type: ignore[arg-type]


def test_who_does_not_answer_holds_nobody_up() -> None:
    hold = threading.Event()
    answers = ask_all({"slow": hold.wait, "quick": lambda: True}, 0.05)
    hold.set()
    assert answers["quick"] is True
    assert str(answers["slow"]) == "no answer within 0.05 s"


def test_a_thread_too_many_is_trouble_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", full)
    (answer,) = ask_all({"a": time.monotonic}, 1).values()
    assert isinstance(answer, OSError)
    assert answer.errno == errno.ENOMEM


def test_a_model_that_is_busy_is_well_but_not_at_the_first_look(played: Played) -> None:
    """Under overload the launcher's own request is refused like anybody's, while others are answered."""
    played.answers = {"a": Response(200, {}, b""), "b": BUSY}
    problem, words = probe(played, played.models, busy_is_well=True)  # type: ignore[arg-type]
    assert (problem, words) == (None, {"a": "ready", "b": "ready, and busy"})
    problem, _ = probe(played, played.models)  # type: ignore[arg-type]
    assert (problem or "").startswith("model b answered 503: ")
    played.answers["b"] = STOCK
    problem, _ = probe(played, played.models, busy_is_well=True)  # type: ignore[arg-type]
    assert (problem or "").startswith("model b answered 503: ")
    played.answers["b"] = ConnectionResetError(104, "Connection reset by peer")
    problem, _ = probe(played, played.models, busy_is_well=True)  # type: ignore[arg-type]
    assert problem == "model b did not answer: [Errno 104] Connection reset by peer"
