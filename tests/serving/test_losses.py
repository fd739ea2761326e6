"""The launcher never gives up: what was lost is started again after growing pauses, and `/ready` says why and when."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving import launcher
from serving.config import PortTaken
from serving.jvm import FrontEndLost, StartError
from serving.launcher import Launch, Options
from serving.losses import PAUSES, QUIET_SECONDS, Losses
from serving.signals import StopRequested, StopSignals
from serving.state import Held, only_one
from serving.store import StoreError

SERVES = "a worker died"  # of a round that served before it ended
FULL = OSError(28, "No space left on device", "/run/state.json")


class Run:
    """A launcher whose rounds are scripted: each entry is how one ends; after the last a signal comes."""

    def __init__(self, held: Held, monkeypatch: pytest.MonkeyPatch, rounds: list[Any], **options: Any) -> None:
        self.pauses: list[float] = []
        self.said: list[str] = []
        self.ready: list[str] = []
        left = iter(rounds)
        self.launch = Launch(Options(Path("store"), Path("run"), **options), self.said.append, held, StopSignals())

        def one(launch: Launch) -> str:
            end = next(left, StopRequested())
            if end == SERVES:
                launch._served = True
                launch._losses.serving()
                return SERVES
            raise end

        def sleep(seconds: float) -> None:
            self.pauses.append(seconds)
            self.ready.append(str(self.launch._status.get()[1]["reason"]))

        monkeypatch.setattr(Launch, "_serve_once", one)
        monkeypatch.setattr("serving.launcher.time.sleep", sleep)


Script = Callable[..., Run]


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with only_one(tmp_path / "run") as held:
        yield lambda rounds, **options: Run(held, monkeypatch, rounds, **options)


def test_twenty_losses_are_no_end(script: Script) -> None:
    run = script([SERVES] * 20)
    assert run.launch.run() == 0
    assert run.pauses == [*PAUSES, *[60.0] * (20 - len(PAUSES))]
    assert list(PAUSES) == sorted(PAUSES)
    assert run.ready[0] == "TorchServe is started again now: a worker died (loss 1 in a row)"
    assert re.fullmatch(
        r"TorchServe is started again in 60 s, at \d\d:\d\d:\d\d UTC: a worker died \(loss 20 in a row\)", run.ready[-1]
    )
    assert run.said[-2:] == ["stopping", "stopped; nothing is left running"]


@pytest.mark.parametrize(
    "error",
    [
        FULL,
        OSError(122, "Disk quota exceeded", "/run/config.properties"),
        StartError("not every model was ready after 75 s"),
        StoreError("the store holds no archives"),
        PortTaken("port 8080 cannot be used (Address already in use)"),
        FrontEndLost("the front end died while it was warmed"),
    ],
)
def test_what_the_surroundings_do_to_a_start_is_a_loss_once_it_has_served(script: Script, error: Exception) -> None:
    run = script([SERVES, *[error] * 9, SERVES])
    assert run.launch.run() == 0
    assert len(run.pauses) == 11
    assert f": {error} (loss 10 in a row)" in run.ready[9]


@pytest.mark.parametrize("error", [FULL, StartError("it cannot be loaded"), StoreError("no archives"), KeyError("x")])
def test_a_first_start_that_fails_says_so_and_ends(script: Script, error: Exception) -> None:
    run = script([error])
    with pytest.raises(type(error), match=re.escape(str(error))):
        run.launch.run()
    assert run.pauses == []


def test_a_front_end_that_is_killed_during_the_first_start_is_started_again(script: Script) -> None:
    run = script([FrontEndLost("TorchServe was killed (SIGKILL) while it started"), SERVES])
    assert run.launch.run() == 0
    assert len(run.pauses) == 2


def test_a_mistake_in_one_round_is_a_loss_like_another(script: Script) -> None:
    run = script([SERVES, KeyError("x"), RuntimeError("y"), SERVES, KeyError("x"), KeyError("x"), SERVES])
    assert run.launch.run() == 0
    assert len(run.pauses) == 7
    assert run.ready[1].endswith("the launcher failed (KeyError('x')) (loss 2 in a row)")
    assert "Traceback (most recent call last)" in run.said[1]


def test_three_mistakes_in_a_row_end_with_the_reason(script: Script) -> None:
    run = script([SERVES, KeyError("x"), KeyError("y"), KeyError("z"), SERVES])
    assert run.launch.run() == 1
    assert run.said[-2:] == [
        "the launcher itself failed 3 times in a row: giving up",
        "stopped; nothing is left running",
    ]
    assert "KeyError: 'z'" in run.said[-3]


def test_a_supervisor_that_wants_to_decide_is_told(script: Script) -> None:
    run = script([SERVES] * 9, give_up_after=3)
    assert run.launch.run() == 1
    assert run.pauses == [PAUSES[0], PAUSES[1]]
    assert run.said[-2] == "it was lost 3 times without serving 5 minutes in between: giving up"


def test_a_quiet_time_makes_the_next_loss_a_first_one() -> None:
    now = 0.0
    losses = Losses(3, lambda: now)
    for served, count in ((1.0, 1), (QUIET_SECONDS - 1, 2), (QUIET_SECONDS, 1), (2.0, 2)):
        losses.serving()
        now += served
        losses.lost()
        assert (losses.count, losses.pause, losses.enough) == (count, PAUSES[count - 1], None)
    now += 2 * QUIET_SECONDS  # of not serving
    losses.lost()
    assert losses.count == 3
    assert losses.enough == "it was lost 3 times without serving 5 minutes in between"


def test_ready_holds_no_line_of_the_log(script: Script) -> None:
    """The log has words of callers; `/ready` is read by machines of others."""
    run = script([SERVES, StartError("image cannot be loaded, the worker ended:\n  somebody's secret text")])
    assert run.launch.run() == 0
    assert run.ready[1].endswith(": image cannot be loaded, the worker ended (loss 2 in a row)")
    assert "secret" in run.said[1]


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), BrokenPipeError(32, "Broken pipe"), FULL])
def test_nobody_to_tell_is_no_reason_to_end(script: Script, error: OSError) -> None:
    run = script([SERVES] * 3)

    def cannot(_: str) -> None:
        raise error

    run.launch._print = cannot
    assert run.launch.run() == 0
    assert len(run.pauses) == 3


class Fails:
    """A TorchServe that can be neither drained nor stopped."""

    pid = 1

    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        raise StartError("it did not end")


def test_everything_is_stopped_whatever_fails_on_the_way(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    run, torchserve, closed = script([]), Fails(), list[str]()

    def fails(*_: Any) -> float:
        raise RuntimeError("no drain")

    monkeypatch.setattr(launcher, "drain", fails)
    monkeypatch.setattr(launcher, "remove_state", lambda *_: closed.append("state"))
    monkeypatch.setattr(Launch, "_close", lambda *_: closed.append("status"))
    run.launch._torchserve, run.launch._watched = torchserve, True  # type: ignore[assignment]
    with pytest.raises(StartError, match="it did not end"):
        run.launch.run()
    assert torchserve.stopped
    assert closed == ["state", "status"]
