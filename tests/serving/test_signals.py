"""Signals that stop: heard once, heard again if the first was lost, and none disturbs a stop that is under way."""

from __future__ import annotations

import os
import signal

import pytest

from serving import signals
from serving.signals import STOPPING, StopRequested, StopSignals


@pytest.mark.parametrize("number", STOPPING)
def test_a_second_ctrl_c_disturbs_no_stop(number: signal.Signals) -> None:
    with StopSignals() as stop:
        with pytest.raises(StopRequested):
            os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # before anybody could say that a stop is under way
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(StopRequested):
            stop.check()
        stop.ignore()
        os.kill(os.getpid(), number)
        stop.check()


class Late:
    """Gone with the signal in its `__del__`, where Python drops exceptions."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_was_lost_is_heard_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as stop:
        stop.check()
        Late()
        with pytest.raises(StopRequested):
            stop.check()
        monkeypatch.setattr(signals, "SAME_WISH_SECONDS", 0.0)
        with pytest.raises(StopRequested):
            os.kill(os.getpid(), signal.SIGTERM)
