"""The engine's priority: asked for through the environment, refused by name, done without where it is not allowed."""

from __future__ import annotations

import logging
import os

import pytest

from handlers.engine import priority


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """The calls of os.setpriority, which does nothing here: a lower priority could not be taken back."""
    calls: list[tuple[int, int, int]] = []
    monkeypatch.setattr(os, "setpriority", lambda *arguments: calls.append(arguments))
    return calls


@pytest.mark.parametrize(("value", "wanted"), [("-15", [-15]), ("19", [19]), ("-20", [-20]), ("0", []), (None, [])])
def test_the_engine_takes_what_the_launcher_says(
    given: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: list[int]
) -> None:
    monkeypatch.delenv(priority.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(priority.VARIABLE, value)
    priority.set_priority()
    assert given == [(os.PRIO_PROCESS, 0, nice) for nice in wanted]


@pytest.mark.parametrize("value", ["-21", "20", "high", "", "1.5"])
def test_what_is_no_niceness_is_an_error_that_names_the_variable(
    given: list[tuple[int, int, int]], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ATELIER_ENGINE_NICE", value)
    with pytest.raises(ValueError, match=f"ATELIER_ENGINE_NICE is '{value}', wanted an integer from -20 to 19"):
        priority.set_priority()
    assert given == []


def test_a_priority_that_is_not_allowed_is_logged_and_done_without(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    monkeypatch.setenv(priority.VARIABLE, "-15")
    with caplog.at_level(logging.WARNING):
        priority.set_priority()
    assert f"niceness -15 is not allowed (root or CAP_SYS_NICE may); the engine serves with {os.nice(0)}" in caplog.text
