"""A step generator that counts, for tests of schedulers: it writes letters, and some names misbehave."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from handlers.generator import Request
from handlers.refusals import Refusal
from tests.support.helpers import Uncertified


@dataclasses.dataclass
class Count:
    """Wants `steps` letters."""

    name: str
    steps: int = 3
    stream: bool = True
    content_type: str = "text/plain"
    rows: int = 1
    smaller: str = "lower steps"

    def public(self) -> dict[str, Any]:
        return {"name": self.name}


@dataclasses.dataclass
class FakeSlot:
    params: Count
    items: int = 0
    sent: int = 0
    finished: str | None = None


class Counter(Uncertified):
    """Writes its name's letter at every step. Names with a meaning misbehave."""

    def __init__(self, capacity: int = 2) -> None:
        self.capacity = capacity
        self.free = capacity
        self.steps: list[list[str]] = []
        self.starts: list[list[str]] = []

    def parse(self, request: Request) -> Count:
        if request.params["name"] == "bad":
            raise Refusal(400, "name is bad", "name")
        return Count(**request.params)

    def start(self, batch: Sequence[Count]) -> list[FakeSlot]:
        names = [params.name for params in batch]
        self.starts.append(names)
        if "unstartable" in names:
            raise RuntimeError("the slot broke")
        assert sum(params.rows for params in batch) <= self.free, "more texts than slots"
        self.free -= sum(params.rows for params in batch)
        return [FakeSlot(params) for params in batch]

    def step(self, slots: Sequence[FakeSlot]) -> None:
        names = [slot.params.name for slot in slots]
        self.steps.append(names)
        if any(slot.params.name == "crash" and slot.items == 2 for slot in slots):
            raise RuntimeError("the engine broke")
        for slot in slots:
            slot.items += 1
            if slot.items == slot.params.steps:
                slot.finished = "length"
                self.free += slot.params.rows

    def drain(self, slot: FakeSlot) -> bytes:
        if slot.params.name == "mute":
            raise RuntimeError("the encoder broke")
        if slot.finished is None and not slot.params.stream:
            return b""
        if slot.params.name == "huge" and slot.items == 2:
            return b"x" * 2000
        new = slot.params.name[:1] * (slot.items - slot.sent)
        slot.sent = slot.items
        return new.encode()

    def cancel(self, slot: FakeSlot) -> None:
        if slot.finished is None:
            slot.finished = "cancelled"
            self.free += slot.params.rows
