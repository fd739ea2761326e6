"""Who may ask a model next."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.errors import ApiError
from gateway.fair import Turns


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


async def settle() -> None:
    """Let every task go as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


class Row:
    """Requests of callers, in the order in which they were let in."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.let_in: list[str] = []
        self.refused: list[tuple[str, ApiError]] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, *names: str) -> None:
        """`a1` is a request of caller `a`."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._ask(name))
        await settle()

    async def give(self, count: int = 1) -> None:
        for _ in range(count):
            self.turns.give()
            await settle()

    async def _ask(self, name: str) -> None:
        try:
            await self.turns.take(name[0])
            self.let_in.append(name)
        except ApiError as error:
            self.refused.append((name, error))


def test_callers_come_in_turn_however_many_each_sends() -> None:
    async def work() -> None:
        row = Row(Turns("m", 1, 100))
        await row.ask("a1", "a2", "a3", "a4", "b1", "c1", "b2")
        assert row.let_in == ["a1"]
        await row.give(6)
        assert row.let_in == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]

    run(work())


def test_a_full_queue_refuses_with_a_time_to_come_again() -> None:
    async def work() -> None:
        row = Row(Turns("m", 1, 2))
        await row.ask("a1", "a2", "a3", "a4")
        ((name, error),) = row.refused
        assert name == "a4"
        assert (error.status, error.code) == (503, "overloaded")
        assert "model m has 1 requests in hand and 2 that wait" in error.message
        assert error.retry_after is not None and 1 <= error.retry_after <= 2

    run(work())


def test_a_flood_keeps_nobody_out() -> None:
    """When the queue is full, the last of whoever has most in it gives way to one who has little."""

    async def work() -> None:
        row = Row(Turns("m", 1, 3))
        await row.ask("a1", "a2", "a3", "a4", "b1")
        assert [name for name, _ in row.refused] == ["a4"]
        await row.give(2)
        assert row.let_in == ["a1", "a2", "b1"]
        await row.ask("b2", "b3", "b4")
        assert [name for name, _ in row.refused] == ["a4", "b4"]

    run(work())


def test_who_leaves_while_waiting_takes_no_turn() -> None:
    async def work() -> None:
        row = Row(Turns("m", 1, 10))
        await row.ask("a1", "b1", "c1")
        row.tasks["b1"].cancel()
        await settle()
        assert row.turns.waiting == 1
        await row.give()
        assert row.let_in == ["a1", "c1"]
        await row.give()
        assert (row.turns.held, row.turns.waiting) == (0, 0)

    run(work())


def test_a_turn_that_came_as_its_caller_left_goes_to_the_next() -> None:
    async def work() -> None:
        row = Row(Turns("m", 1, 10))
        await row.ask("a1", "b1", "c1")
        row.turns.give()  # b1 has its turn, and has not heard of it yet
        row.tasks["b1"].cancel()
        await settle()
        assert row.let_in == ["a1", "c1"]
        assert row.turns.held == 1

    run(work())


def test_more_places_let_more_in() -> None:
    async def work() -> None:
        row = Row(Turns("m", 1, 10))
        await row.ask("a1", "a2", "a3")
        row.turns.resize(3)
        await settle()
        assert row.let_in == ["a1", "a2", "a3"]
        row.turns.resize(1)
        await row.ask("a4")
        await row.give(2)
        assert "a4" not in row.let_in
        await row.give()
        assert row.let_in[-1] == "a4"

    run(work())


@pytest.mark.parametrize("waiting", [0, 1])
def test_the_bound_of_the_queue_is_exact(waiting: int) -> None:
    async def work() -> None:
        row = Row(Turns("m", 2, waiting))
        await row.ask(*(f"a{i}" for i in range(2 + waiting)))
        assert not row.refused
        await row.ask("a9")
        assert [name for name, _ in row.refused] == ["a9"]

    run(work())
