"""What an engine does with the frames of its proxy, before any scheduler: every one of them is answered or obeyed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from handlers.engine.loop import Guard, Outbox, obey
from handlers.frames import Cancel, Frame, Refused, Submit, Unpacker


class Noted:
    """A scheduler that notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def submit(self, number: int, params: Any, deadline: float | None, name: str) -> None:
        self.asked.append((number, params, deadline, name))

    def unreadable(self, number: int) -> None:
        self.asked.append(("unreadable", number))

    def cancel(self, number: int) -> None:
        self.asked.append(number)


class Ends:
    """Both ends of an engine's socket."""

    def __init__(self, ours: socket.socket, theirs: socket.socket) -> None:
        self.outbox, self._theirs, self.noted = Outbox(ours), theirs, Noted()

    def obey(self, message: Any) -> list[Frame]:
        """What the engine says to a message about request 7."""
        scheduler: Any = self.noted
        obey(Guard(), scheduler, self.outbox, Frame(7, message))
        self.outbox.flush()
        self._theirs.setblocking(False)
        try:
            return Unpacker().feed(self._theirs.recv(1 << 16))
        except BlockingIOError:
            return []


@pytest.fixture
def ends() -> Iterator[Ends]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Ends(ours, theirs)


def test_a_submission_is_the_value_of_its_body(ends: Ends) -> None:
    assert ends.obey(Submit('{"seed": 7, "text": "ä"}'.encode(), 12.5, "mine")) == []
    assert ends.noted.asked == [(7, {"seed": 7, "text": "ä"}, 12.5, "mine")]


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b"\xff"])
def test_a_body_that_cannot_be_read_is_refused(ends: Ends, body: bytes) -> None:
    assert ends.obey(Submit(body, 1.0)) == []
    assert ends.noted.asked == [("unreadable", 7)]


def test_a_cancellation_is_answered(ends: Ends) -> None:
    """The proxy keeps the place of a request until it hears that it is free."""
    assert ends.obey(Cancel()) == [Frame(7, Refused(499, "cancelled", None))]
    assert ends.noted.asked == [7]
