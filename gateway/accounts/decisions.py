"""What moderation decided: a rule, a place and an action. Of the text only what is sealed, where that is set."""

from __future__ import annotations

import dataclasses
import time
import uuid
from typing import Any


@dataclasses.dataclass
class Decision:
    """One decision about a request or about what was made for it."""

    request_id: str
    owner: str
    route: str  # as it is written in the table of routes
    category: str
    rule: str
    action: str  # refuse, log
    stage: str  # prompt, result
    created: float = dataclasses.field(default_factory=time.time)  # seconds since 1970
    # Of our own making, so that a batch whose end nobody heard of is not kept twice.
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    text: bytes | None = None  # sealed (gateway/sealed.py) for the row `id` and the field "text"
    text_key: bytes | None = None  # the row's data key, wrapped
    text_key_by: str | None = None  # the id of the key that wrapped it

    @property
    def size(self) -> int:
        """Bytes that it holds in the queue."""
        return 512 + len(self.text or b"")

    def row(self) -> dict[str, Any]:
        """As a row of the table; a column is as wide as anything that we name ourselves."""
        made = dataclasses.asdict(self)
        return {**made, "request_id": self.request_id[:64], "route": self.route[:128], "rule": self.rule[:64]}
