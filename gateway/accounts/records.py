"""What is kept of a request: who, where, how it ended, how much. Never a text, an image or an address."""

from __future__ import annotations

import dataclasses
import time
import uuid
from contextvars import ContextVar
from typing import Any, NamedTuple

from gateway.accounts.caller import UNITS


class Use(NamedTuple):
    """A quota: of a key, on a day (YYYY-MM-DD, UTC), in a unit of `UNITS`."""

    key_id: str
    day: str
    unit: str


@dataclasses.dataclass
class Record:
    """One request of a known caller."""

    request_id: str
    key_id: str
    route: str = "none"  # as it is written in the table of routes, without what a caller put in
    status: int = 0
    units: dict[str, float] = dataclasses.field(default_factory=dict)
    uses: dict[Use, float] = dataclasses.field(default_factory=dict)
    started: float = dataclasses.field(default_factory=time.time)  # seconds since 1970
    began: float = dataclasses.field(default_factory=time.monotonic)
    seconds: float = 0.0
    ended: bool = False
    # Of our own making, so that a batch whose end nobody heard of is not kept twice.
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    def row(self) -> dict[str, Any]:
        """As a row of the table; a column is as wide as anything that we name ourselves."""
        units = {unit: self.units.get(unit, 0.0) for unit in UNITS.values()}
        plain = {name: getattr(self, name) for name in ("id", "key_id", "status", "started", "seconds")}
        return {**plain, **units, "request_id": self.request_id[:64], "route": self.route[:128]}


# The request that the running task answers.
CURRENT: ContextVar[Record | None] = ContextVar("record", default=None)
